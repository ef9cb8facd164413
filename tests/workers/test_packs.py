"""Trials that train together are trials of their own: same results, leases, failures, takeover."""

import os
import signal

import pytest
import torch
from optuna.trial import TrialState
from sqlalchemy import select

from lrsearch.spec.sections import ConfirmSection
from lrsearch.status import read_status
from lrsearch.storage import LeaseLost, Nothing, Worker, read_metrics
from lrsearch.storage.tables import leases as table
from lrsearch.tasks import pack as packs
from lrsearch.tasks import probe
from lrsearch.worker import LeasedTrials, PackedTrials, pack_size, work

RUN = "lrsearch.tasks.fashion_mnist:task"
HORIZONS = {"kind": "horizons", "horizons": [2, 4], "reduction_factor": 3}


@pytest.fixture
def create(place, small_data):
    """Create a study of so many trials, in a place of its own if there is one already."""

    def create(trials, *, where=None, pruning=HORIZONS, **task):
        task = {"data_dir": str(small_data), "epochs": 4, "batch_size": 50, **task}
        families = ["constant", "cosine", "one_cycle", "plateau"]
        # at high rates single precision makes chaos of rounding
        space = {"families": families, "base_lr": {"low": 0.005, "high": 0.02}}
        return (where or place).create(
            RUN, trials, task=task, space=space, sampler={"kind": "random"}, pruning=pruning,
            workers={"lease": 2.0},
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
    assert train(alone, 1) is train(packed, 4) is Nothing.DONE
    assert [t.params for t in alone.optuna.trials] == [t.params for t in packed.optuna.trials]
    assert {t.state for t in packed.optuna.trials} == {TrialState.COMPLETE}
    check_alike(alone, packed)
    assert open_leases(packed) == []


def test_those_that_train_together_report_before_any_is_judged(create):
    study = create(12)
    train(study, 12)
    reached = [t.intermediate_values[2] for t in study.optuna.trials if t.intermediate_values]
    went_on = [t.intermediate_values[2] for t in study.optuna.trials if 4 in t.intermediate_values]
    assert len(reached) == 12
    best = sorted(reached, reverse=True)[: 12 // 3]
    assert min(went_on) == best[-1]
    assert len(went_on) == sum(value >= best[-1] for value in reached)


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
    """A worker of this process with leases in hand."""

    def __init__(self, study, count):
        self.study = study
        self.worker = Worker(study.storage, study.study_id, "cpu", 60.0, max_failures=3)
        self.leases = []
        for _ in range(count):
            self.leases.append(self.worker.claim(self.leases))
        self.trials = LeasedTrials(study, self.worker.worker_id, "cpu", lambda run: next(run, None))
        self.ended = []
        self.packs = PackedTrials(
            self.trials, count, lambda rounds: next(rounds, None), lambda: None, self.ended.append
        )


def test_status_names_every_trial_that_a_worker_trains(create):
    study = create(6, pruning={"kind": "none"})
    packing = Packing(study, 3)
    seen = []

    def advance(rounds):
        told = next(rounds, None)
        (worker,) = read_status(study).workers
        seen.append([(held.trial, held.epoch, held.horizon) for held in worker.trials])
        return told

    packing.packs.advance = advance
    packing.packs.train(packing.leases)
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
    assert packing.packs.train(packing.leases) == []
    assert tried == [8, 4, 2, 2, 2, 2]
    assert packing.packs.size == 2
    assert sorted(lease.number for lease in packing.ended) == list(range(8))
    assert {t.state for t in study.optuna.trials} == {TrialState.COMPLETE}


def test_a_member_that_is_taken_over_leaves_and_the_others_go_on(create):
    study = create(4, pruning={"kind": "none"})
    packing = Packing(study, 4)
    lost = packing.leases[1]
    check = lost.check
    seen = []

    def advance(rounds):
        if len(seen) == 1:
            with study.storage.engine.begin() as connection:
                connection.execute(
                    table.update().where(table.c.lease_id == lost.lease_id).values(ended=1.0)
                )
        seen.append(1)
        return next(rounds, None)

    packing.packs.advance = advance
    assert packing.packs.train(packing.leases) == []
    assert sorted(lease.number for lease in packing.ended) == [0, 2, 3]
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

    packing.packs.check = check
    with pytest.raises(KeyboardInterrupt):
        packing.packs.train(packing.leases)
    assert sum("schedule" in t.user_attrs for t in study.optuna.trials) == 2
    assert rows(study) == []


def test_what_fails_in_a_pack_goes_on_alone(create, monkeypatch):
    study = create(3, pruning={"kind": "none"})

    def broken(*_arguments, **_options):
        raise RuntimeError("vmap has had enough")

    monkeypatch.setattr(packs, "Pack", broken)
    assert train(study, 3) is Nothing.DONE
    assert {t.state for t in study.optuna.trials} == {TrialState.COMPLETE}


def test_packs_that_fail_when_they_are_tried_are_done_without(create, monkeypatch, caplog):
    def broken(*_arguments):
        raise RuntimeError("the driver is too old")

    monkeypatch.setattr(probe, "_rate", broken)
    assert pack_size(on_cuda(create(8)), None) == 0
    assert "packs fail here: the driver is too old" in caplog.text


def on_cuda(study):
    """Return the trials of a study as if they trained on a GPU."""
    trials = LeasedTrials(study, "worker", "cpu", next)
    trials.objective.device = "cuda"
    return trials


def test_a_search_leaves_its_sampler_something_to_learn_from(create, place, monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr(probe, "_rate", lambda _task, members, _device: members)
    searching = on_cuda(create(64))
    assert pack_size(searching, None) == 16
    assert "up to 16 trials train together" in caplog.text
    assert pack_size(searching, 64) == 64
    assert pack_size(on_cuda(create(3, where=place.elsewhere())), None) == 1
    assert pack_size(searching, 1) == 1
    searching.objective.device = "cpu"
    assert pack_size(searching, 1) == pack_size(searching, None) == 0
    searching.objective.device = "cuda"
    confirmed = {"confirm": ConfirmSection(seeds=[1, 2])}
    searching.objective.spec = searching.objective.spec.model_copy(update=confirmed)
    assert pack_size(searching, None) == probe.MOST


def test_a_pack_is_as_large_as_makes_the_device_faster(create, monkeypatch):
    rates = {1: 10.0, 2: 19.0, 4: 35.0, 8: 36.0, 16: 99.0}
    monkeypatch.setattr(probe, "_rate", lambda _task, members, _device: rates[members])
    assert probe.best_size(None, "cuda") == 4

    def small(_task, members, _device):
        if members > 2:
            raise torch.OutOfMemoryError
        return rates[members]

    monkeypatch.setattr(probe, "_rate", small)
    assert probe.best_size(None, "cuda") == 2


def test_a_task_that_cannot_be_packed_trains_alone(place, caplog):
    caplog.set_level("INFO")
    study = place.create("trouble:Fake", trials=4)
    assert train(study, 4) is Nothing.DONE
    assert "every trial trains alone: the task has a training loop of its own" in caplog.text
    assert {t.state for t in study.optuna.trials} == {TrialState.COMPLETE}


def test_a_trial_that_fails_as_it_begins_leaves_the_others_to_train(create, monkeypatch):
    study = create(3, pruning={"kind": "none"})
    packing = Packing(study, 3)
    suggest = packing.trials.objective._schedule

    def broken(trial, task):
        if trial.number == 1:
            raise RuntimeError("no schedule for this one")
        return suggest(trial, task)

    monkeypatch.setattr(packing.trials.objective, "_schedule", broken)
    assert packing.packs.train(packing.leases) == [packing.leases[1]]
    assert sorted(lease.number for lease in packing.ended) == [0, 2]
