"""Trials that train together are trials of their own: same results, leases, failures, takeover."""

import os
import signal

import pytest
import torch
from optuna.trial import TrialState
from sqlalchemy import select

from lrsearch.storage import (
    LeaseLost,
    NoTrialReason,
    TrialQueue,
    read_metrics,
    read_run_ends,
)
from lrsearch.storage.tables import leases as table
from lrsearch.study import ConfirmSection, read_status
from lrsearch.tasks import packs
from lrsearch.tasks.packs import MAX_PACK_SIZE, best_pack_size, size
from lrsearch.worker import Grouping, StudyTasks, choose_grouping, work
from tests.in_process import make_trainer

RUN = "lrsearch.tasks.fashion_mnist:task"
HORIZONS = {"kind": "horizons", "horizons": [2, 4], "reduction_factor": 3}


@pytest.fixture
def create(place, small_data):
    """Create a study of so many trials, in a place of its own if there is one already."""

    def create(trials, *, where=None, pruning=HORIZONS, **task):
        learns = {"batch_size": 50, "optimizer": "adam"}
        task = {"data_dir": str(small_data), "epochs": 4, **learns, **task}
        families = ["constant", "cosine", "one_cycle", "plateau"]
        # at high rates single precision makes chaos of rounding
        space = {"families": families, "base_lr": {"low": 0.003, "high": 0.01}}
        return (where or place).create(
            RUN, trials, task=task, space=space, sampler={"kind": "random"}, pruning=pruning,
            workers={"lease": 5.0},
        )  # fmt: skip

    return create


def train(study, pack):
    url = study.storage.engine.url.render_as_string(hide_password=False)
    return work(url, study.name, "cpu", pack=pack)


def rows(study):
    return read_metrics(study.storage, study.study_id)


def open_leases(study):
    with study.storage.reading() as connection:
        return connection.execute(select(table).where(table.c.ended.is_(None))).all()


def check_alike(one, other):
    """Check that two studies trained the same, up to rounding."""
    for a, b in zip(rows(one), rows(other), strict=True):
        assert (a.trial, a.run, a.epoch, a.step) == (b.trial, b.run, b.epoch, b.step)
        assert a.lr == pytest.approx(b.lr, rel=1e-6)
        assert a.metrics["train_loss"] == pytest.approx(b.metrics["train_loss"], abs=0.02)


def test_a_search_in_packs_trains_what_a_search_alone_trains(create, place):
    nothing = {"kind": "none"}
    alone = create(9, pruning=nothing)
    packed = create(9, pruning=nothing, where=place.elsewhere())
    assert train(alone, 1) is train(packed, 4) is NoTrialReason.DONE
    assert [t.params for t in alone.optuna.trials] == [t.params for t in packed.optuna.trials]
    assert {t.state for t in packed.optuna.trials} == {TrialState.COMPLETE}
    check_alike(alone, packed)
    assert open_leases(packed) == []


def test_those_that_train_together_report_before_any_is_judged(create):
    study = create(12)
    train(study, 12)
    trials = study.optuna.trials
    reached = [trial.intermediate_values[2] for trial in trials]
    best = sorted(range(12), key=lambda number: -reached[number])[: 12 // 3]
    assert [t.number for t in trials if 4 in t.intermediate_values] == sorted(best)
    ends = read_run_ends(study.storage, study.study_id)
    assert [end.run for end in ends] == [0] * 12 + [1] * 4


@pytest.mark.slow
def test_a_pack_whose_worker_is_killed_is_taken_over_as_a_whole(create, place):
    study = create(6, pruning={"kind": "none"}, epochs=6)
    worker = place.start("work", "--pack", "6")
    place.wait_for(lambda: len(rows(study)) >= 12, "two epochs of each")
    os.kill(worker.pid, signal.SIGKILL)
    place.wait_for_death(worker.pid)
    assert place.end(place.start("work", "--pack", "6")) == 0
    undisturbed = create(6, pruning={"kind": "none"}, epochs=6, where=place.elsewhere())
    train(undisturbed, 6)
    check_alike(study, undisturbed)
    assert [t.number for t in study.optuna.trials] == list(range(6))


class Packing:
    """A worker of this process that holds leases and trains their trials in packs."""

    def __init__(self, study, count):
        self.study = study
        self.queue = TrialQueue(study.storage, study.study_id, "cpu", 60.0, max_failures=3)
        self.leases = []
        for _ in range(count):
            self.leases.append(self.queue.claim(self.leases))
        self.ended = {}
        self.trainer = make_trainer(
            study,
            grouping=Grouping(count, packs=True),
            on_end=lambda lease, failed: self.ended.update({lease.number: failed}),
        )

    def train(self):
        self.trainer.train(self.leases)


def test_status_names_every_trial_that_a_worker_trains(create):
    study = create(6, pruning={"kind": "none"})
    packing = Packing(study, 3)
    seen = []

    def next_progress(rounds):
        epoch = next(rounds, None)
        (worker,) = read_status(study).workers
        seen.append([(trial.trial, trial.epoch, trial.horizon) for trial in worker.trials])
        for trial in worker.trials:  # the curves within its epochs, for the terminal
            rows = read_metrics(study.storage, study.study_id, [trial.trial])
            for name in ("train_loss", "train_accuracy"):
                known = [p[name] for row in rows for _, p in row.curve]
                assert trial.curves.get(name, []) == known
                assert len(known) > trial.epoch or not trial.epoch
        return epoch

    packing.trainer.next_progress = next_progress
    packing.train()
    assert seen == [[(trial, epoch, 4) for trial in range(3)] for epoch in range(5)]


def test_no_trial_is_lost_where_the_memory_is_too_small(create, monkeypatch):
    tried = []
    real = packs.Pack

    def small(task, schedules, **options):
        tried.append(len(schedules))
        if len(schedules) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return real(task, schedules, **options)

    monkeypatch.setattr(packs, "Pack", small)
    study = create(8, pruning={"kind": "none"})
    packing = Packing(study, 8)
    packing.train()
    assert tried == [8, 4, 2, 2, 2, 2]
    assert packing.trainer.grouping == Grouping(2, packs=True)
    assert packing.ended == dict.fromkeys(range(8), False)
    assert all(record.finished for record in study.records())


def test_a_member_that_is_taken_over_leaves_and_the_others_go_on(create):
    study = create(4, pruning={"kind": "none"})
    packing = Packing(study, 4)
    lost = packing.leases[1]
    check = lost.check
    seen = []

    def next_progress(rounds):
        if len(seen) == 1:
            with study.storage.engine.begin() as connection:
                connection.execute(
                    table.update().where(table.c.lease_id == lost.lease_id).values(ended=1.0)
                )
        seen.append(1)
        return next(rounds, None)

    packing.trainer.next_progress = next_progress
    packing.train()
    assert packing.ended == dict.fromkeys([0, 2, 3], False)
    assert {row.epoch for row in rows(study) if row.trial == 1} == {1}
    with pytest.raises(LeaseLost), study.storage.engine.begin() as connection:
        check(connection)


def test_a_worker_that_is_to_leave_begins_no_more_trials(create):
    study = create(4, pruning={"kind": "none"})
    packing = Packing(study, 4)
    asked = []

    def check():
        asked.append(1)
        if len(asked) == 3:
            raise KeyboardInterrupt

    packing.trainer.check = check
    with pytest.raises(KeyboardInterrupt):
        packing.train()
    assert sum("schedule" in t.user_attrs for t in study.optuna.trials) == 2
    assert rows(study) == []


def test_what_fails_in_a_pack_goes_on_alone(create, monkeypatch):
    study = create(3, pruning={"kind": "none"})

    def broken(*_arguments, **_options):
        raise RuntimeError("vmap has had enough")

    monkeypatch.setattr(packs, "Pack", broken)
    assert train(study, 3) is NoTrialReason.DONE
    assert all(record.finished for record in study.records())


def grouping(study, wanted, device="cuda", **changes):
    """Return how a study would train on a device, its spec changed."""
    spec = study.spec.model_copy(update=changes)
    return choose_grouping(StudyTasks(spec, study.rungs), study.target, device, wanted)


def test_packs_that_fail_when_they_are_tried_are_done_without(create, monkeypatch, caplog):
    def broken(*_arguments):
        raise RuntimeError("the driver is too old")

    monkeypatch.setattr(size, "_rate", broken)
    assert grouping(create(8), None) == Grouping()
    assert "packs fail here: the driver is too old" in caplog.text


def test_a_search_leaves_its_sampler_something_to_learn_from(create, place, monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr(size, "_rate", lambda _task, members, _device: members)
    study = create(64)
    assert grouping(study, None) == Grouping(16, packs=True)
    assert "up to 16 trials train together" in caplog.text
    assert grouping(study, 64) == Grouping(64, packs=True)
    assert grouping(create(3, where=place.elsewhere()), None) == Grouping(1, packs=True)
    assert grouping(study, 1) == Grouping(1, packs=True)
    assert grouping(study, 1, "cpu") == grouping(study, None, "cpu") == Grouping()
    confirm = ConfirmSection(seeds=[1, 2])
    assert grouping(study, None, confirm=confirm) == Grouping(MAX_PACK_SIZE, packs=True)


def test_a_pack_is_as_large_as_makes_the_device_faster(create, monkeypatch):
    rates = {1: 10.0, 2: 19.0, 4: 35.0, 8: 36.0, 16: 99.0}
    monkeypatch.setattr(size, "_rate", lambda _task, members, _device: rates[members])
    assert best_pack_size(None, "cuda") == 4

    def small(_task, members, _device):
        if members > 2:
            raise torch.OutOfMemoryError
        return rates[members]

    monkeypatch.setattr(size, "_rate", small)
    assert best_pack_size(None, "cuda") == 2


def test_a_task_that_cannot_be_packed_trains_alone(place, caplog):
    caplog.set_level("INFO")
    study = place.create("trouble:Fake", trials=4)
    assert train(study, 4) is NoTrialReason.DONE
    assert "every trial trains alone: the task has a training loop of its own" in caplog.text
    assert all(record.finished for record in study.records())


def test_a_trial_that_fails_as_it_begins_leaves_the_others_to_train(create, monkeypatch):
    study = create(3, pruning={"kind": "none"})
    packing = Packing(study, 3)
    suggest = packing.trainer.tasks.schedule

    def broken(trial, task):
        if trial.number == 1:
            raise RuntimeError("no schedule for this one")
        return suggest(trial, task)

    monkeypatch.setattr(packing.trainer.tasks, "schedule", broken)
    packing.train()
    assert packing.ended == {0: False, 1: True, 2: False}
    assert study.record(1).error == "RuntimeError: no schedule for this one"


def test_a_state_of_another_run_is_not_gone_on_with(create, monkeypatch):
    """Where memory runs out before the first checkpoint of a run, one of the run before is left."""
    study = create(2, pruning={"kind": "none", "horizons": [2, 4]})
    packing = Packing(study, 2)
    real, begun = packs.Pack, []

    def small(task, schedules, *, states, epochs, **options):
        begun.append((epochs, [state and state["epoch"] for state in states]))
        if epochs == 4 and len(schedules) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return real(task, schedules, states=states, epochs=epochs, **options)

    monkeypatch.setattr(packs, "Pack", small)
    save = packing.trainer.checkpoints.save

    def forgetful(trial, lease_id, kept):
        if kept["run"] == 0:  # a disk that is full from then on
            save(trial, lease_id, kept)

    monkeypatch.setattr(packing.trainer.checkpoints, "save", forgetful)
    packing.train()
    assert begun == [(2, [None] * 2), (4, [None] * 2), (4, [None]), (4, [None])]
    for trial in study.records(epochs=True):
        assert [(row.run, row.epoch) for row in trial.epochs] == [
            (0, 1), (0, 2), (1, 1), (1, 2), (1, 3), (1, 4),
        ]  # fmt: skip
