"""Workers whose trials climb rungs: killed or not, each run, budget and best is as it should be."""

import itertools
import math
import os
import random
import re
import signal
import time

import pytest
from optuna.trial import TrialState
from place import check_curves, outcome, who_trained
from sqlalchemy import func, select
from trouble import Brittle

from lrsearch.evaluation import read_answer
from lrsearch.search import Climb, rungs_of
from lrsearch.search.checks import least_of_check
from lrsearch.storage import (
    BegunTrial,
    Lease,
    NoTrialReason,
    Step,
    TrialQueue,
    read_metrics,
    read_run_ends,
)
from lrsearch.storage import tables as ours
from lrsearch.study import why_ended
from lrsearch.worker import Grouping, RungPlan, plan_of, work
from tests.in_process import make_trainer

RUNGS = {"kind": "rungs", "horizons": [1, 4], "seeds": 4, "reduction_factor": 3}
LUCKY = "trouble:Lucky"


def train(study, **options):
    url = study.storage.engine.url.render_as_string(hide_password=False)
    return work(url, study.name, "cpu", **options)


def rows(study):
    return read_metrics(study.storage, study.study_id)


def begun(study):
    return [trial for trial in study.optuna.get_trials() if trial.state != TrialState.FAIL]


def check_ended(study):
    """Check that nothing is left to do, and that the best is Optuna's best, with all its seeds."""
    trials = begun(study)
    assert {trial.state for trial in trials} <= {TrialState.COMPLETE, TrialState.PRUNED}
    with study.storage.reading() as connection:
        open_leases = select(ours.leases.c.lease_id).where(ours.leases.c.ended.is_(None))
        assert connection.execute(open_leases).all() == []
    assert train(study) is NoTrialReason.DONE  # and so it stays
    assert begun(study) == trials
    lengths = [rung.epochs for rung in study.rungs]
    for end in read_run_ends(study.storage, study.study_id):
        record = study.record(end.trial)
        if end.run in record.stopped:
            assert study.rungs[end.run].check
            assert least_of_check(lengths[end.run]) <= end.epochs < lengths[end.run]
        else:
            diverged = record.diverged
            assert end.epochs == lengths[end.run] or (diverged and diverged.run == end.run)
    for record in study.records():
        assert (record.state == TrialState.COMPLETE) == bool(record.full_values)
        assert record.final_value == record.mean
    best, optunas = study.best(), study.optuna.best_trial
    assert (best.number, best.mean) == (optunas.number, optunas.value)
    assert best.mean == max(record.mean for record in study.records() if record.full_values)
    answer = read_answer(study)
    full = [number for number, rung in enumerate(study.rungs) if rung.full]
    full_rows = [r for r in best.epochs if r.run in full and r.epoch == study.rungs[-1].epochs]
    assert answer.seeds == len(best.full_values) == len(full_rows)
    assert best.mean == pytest.approx(sum(r.metrics["score"] for r in full_rows) / answer.seeds)


def runs_in_full(record):
    """Return on how many seeds a trial was trained in full, or as far as it took to see it hold."""
    return len(record.full_values) + len(record.stopped)


def check_used_up(study, epochs):
    """Check that so many epochs were never exceeded, and that no full run more was of use."""
    left = epochs - len(rows(study))
    assert left >= 0
    if left >= RUNGS["horizons"][-1]:
        full = [record for record in study.records() if record.full_values]
        assert full
        most = sum(rung.full for rung in study.rungs)
        assert all(runs_in_full(record) == most for record in full)


def check_seeds_due(study):
    """Check that the best is known from as many seeds as so many full trials ask for."""
    full = sum(bool(record.full_values) for record in study.records())
    assert runs_in_full(study.best()) == study.climb.seeds_due(full) > 1


@pytest.mark.slow
def test_a_search_whose_workers_are_killed_ends_with_every_trial_and_every_number(place):
    study = place.create(
        LUCKY,
        trials=30,
        task={"seconds": 0.1},
        pruning=RUNGS,
        workers={"lease": 5.0, "max_restarts": 20},
    )
    chance = random.Random(0)
    launcher = place.start("launch", "study.toml", "--workers", "3")
    for _ in range(4):
        victim = chance.choice(place.wait_for(lambda: who_trained(study), "a worker that trains"))
        time.sleep(chance.uniform(0, 0.5))
        os.kill(victim, signal.SIGKILL)
        place.wait_for_death(victim)
    assert place.end(launcher) == 0
    assert [trial.number for trial in study.optuna.get_trials()] == list(range(30))
    check_curves(study)
    check_ended(study)
    check_seeds_due(study)
    for sign in ("ERROR", "Traceback", "locked"):
        assert sign not in place.logs()


def test_one_worker_gives_the_same_search_twice(place):
    first = place.create(LUCKY, trials=30, pruning=RUNGS)
    second = place.elsewhere().create(LUCKY, trials=30, pruning=RUNGS)
    assert train(first) is train(second) is NoTrialReason.DONE
    assert outcome(first) == outcome(second)
    assert len(begun(first)) == 30
    check_curves(first)
    check_ended(first)
    check_seeds_due(first)


@pytest.mark.parametrize("kind", ["rungs", "horizons", "none"])
def test_a_search_of_any_kind_has_what_optuna_calls_the_best(place, kind):
    pruning = {"kind": kind, "horizons": [1, 4]}
    study = place.create(LUCKY, trials=12, pruning=pruning)
    assert train(study) is NoTrialReason.DONE
    check_curves(study)
    check_ended(study)
    if kind != "rungs":
        assert len(study.best().full_values) == 1


def test_before_any_full_run_the_best_is_the_best_of_the_short_ones(place):
    study = place.create(LUCKY, trials=30, pruning=RUNGS)
    queue = TrialQueue(study.storage, study.study_id, "cpu", 3600.0, 1, plan_of(study))
    trainer = make_trainer(study, queue)
    shorts = []
    while not (full := [r for r in study.records() if r.mean is not None]):
        if shorts := [record for record in study.records() if record.value is not None]:
            best = study.best()
            assert best.value == max(record.value for record in shorts)
            answer = read_answer(study)
            assert (answer.trial.number, answer.seeds) == (best.number, 0)
            assert answer.summary == f"score {best.value:.4f} after 1 of 4 epochs on one seed only"
        trainer.train([queue.claim()])
    assert len(shorts) >= 3
    assert study.best().number == full[0].number  # though on its short run another was as good


# --- budgets ------------------------------------------------------------------------------------


@pytest.mark.parametrize("epochs", [5, 11, 40, 63])
def test_a_budget_of_epochs_is_used_up_and_never_exceeded(place, epochs):
    study = place.create(LUCKY, trials=1000, study={"epochs": epochs}, pruning=RUNGS)
    assert train(study) is NoTrialReason.DONE
    check_used_up(study, epochs)
    check_curves(study)
    check_ended(study)


@pytest.mark.slow
def test_a_budget_of_epochs_is_kept_by_workers_that_share_it_and_are_killed(place):
    study = place.create(
        LUCKY,
        trials=1000,
        study={"epochs": 101},
        task={"seconds": 0.1},
        pruning=RUNGS,
        workers={"lease": 5.0, "max_restarts": 20},
    )
    launcher = place.start("launch", "study.toml", "--workers", "2")
    for _ in range(2):
        victim = place.wait_for(lambda: who_trained(study), "a worker that trains")[0]
        os.kill(victim, signal.SIGKILL)
        place.wait_for_death(victim)
    assert place.end(launcher) == 0
    check_used_up(study, 101)
    check_curves(study)
    check_ended(study)


def test_it_is_said_where_a_few_epochs_more_are_of_no_use_and_how_many_are(place):
    study = place.create(LUCKY, trials=1000, study={"epochs": 63}, pruning=RUNGS)
    assert train(study) is NoTrialReason.DONE
    spent = len(rows(study))
    study.set_limits(epochs=spent + 8)  # two full runs, of trials that have all ended
    assert train(study) is NoTrialReason.DONE
    assert len(rows(study)) == spent
    said = rf"8 of {spent + 8} epochs are left, and a new best would take (\d+)"
    takes = int(re.fullmatch(said, why_ended(study).why)[1])
    study.set_limits(epochs=spent + takes)
    assert train(study) is NoTrialReason.DONE
    assert len(rows(study)) > spent


def test_a_budget_of_time_ends_a_search_and_nothing_begins_after_it(place, monkeypatch):
    ticks, clock = itertools.count(1e9, 0.02), [1e9]

    def look(_connection):
        clock[0] = next(ticks)
        return clock[0]

    monkeypatch.setattr("lrsearch.storage.budget.now", look)  # it goes on with every claim
    for module in ("queue", "leases"):
        monkeypatch.setattr(f"lrsearch.storage.{module}.now", lambda connection: clock[0])
    study = place.create(LUCKY, trials=10_000, study={"time": 1.5}, pruning=RUNGS)
    assert train(study) is NoTrialReason.DONE
    with study.storage.reading() as connection:
        deadline = connection.execute(select(ours.studies.c.deadline)).scalar_one()
        trained = select(ours.leases.c.begun).where(ours.leases.c.rung >= 0)
        times = connection.execute(trained).scalars().all()
    assert deadline - 1.5 <= min(times)
    assert max(times) < deadline
    check_curves(study)
    check_ended(study)


@pytest.mark.parametrize("seconds", [38, 42, 46, 50, 62])
def test_what_is_left_of_a_budget_of_time_goes_to_the_best_too(place, monkeypatch, seconds):
    def now(connection):  # with every epoch it is a second later
        return 1e9 + connection.execute(select(func.count(ours.metrics.c.epoch))).scalar_one()

    for module in ("budget", "queue", "leases"):
        monkeypatch.setattr(f"lrsearch.storage.{module}.now", now)
    little = {"luck": 0.03}  # else some checks go on to their ends, and fewer come
    study = place.create(LUCKY, trials=1000, study={"time": seconds}, task=little, pruning=RUNGS)
    assert train(study) is NoTrialReason.DONE
    assert seconds <= len(rows(study)) < seconds + RUNGS["horizons"][-1]
    full = sum(bool(record.full_values) for record in study.records())
    assert runs_in_full(study.best()) >= study.climb.seeds_due(full) > 1
    check_ended(study)


@pytest.mark.slow
def test_resume_goes_on_up_to_each_budget_that_it_raises(place):
    study = place.create(LUCKY, trials=6, study={"epochs": 200}, pruning=RUNGS)
    assert place.end(place.start("launch", "study.toml", "--workers", "1")) == 0
    assert len(begun(study)) == 6
    before = {(row.trial, row.run, row.epoch): row for row in rows(study)}
    assert place.end(place.start("resume", "--trials", "9", "--workers", "1")) == 0
    assert len(begun(study)) == 9
    check_ended(study)
    spent = len(rows(study))
    more = ("--trials", "1000", "--epochs", str(spent + 61))
    assert place.end(place.start("resume", *more, "--workers", "1")) == 0
    check_used_up(study, spent + 61)
    after = {(row.trial, row.run, row.epoch): row for row in rows(study)}
    assert before.items() <= after.items()
    check_curves(study)
    check_ended(study)


# --- diverging ----------------------------------------------------------------------------------


def test_the_next_best_is_trained_on_further_seeds_where_the_best_has_diverged_on_one():
    plan = RungPlan(Climb(rungs_of([1, 6], seeds=4), reduction_factor=3))
    waiting = [BegunTrial(n, {1: 0.5, 6: 0.8 - n / 100}, "waiting") for n in range(1, 4)]
    fallen = BegunTrial(0, {1: 0.9, 6: 0.95}, "pruned")
    step = plan.step([fallen, *waiting], may_begin=False, epochs_left=math.inf)
    assert step == Step(1, rung=2, epochs=6)


def test_what_diverges_on_a_further_seed_is_never_the_best_and_in_nobodys_way(place):
    study = place.create(
        LUCKY,
        trials=60,
        task={"fragile_above": 0.05},
        space={"families": ["constant"], "base_lr": {"low": 0.02, "high": 0.3}, "warmup": "none"},
        sampler={"kind": "random"},
        pruning=RUNGS,
    )
    assert train(study) is NoTrialReason.DONE
    records = study.records()
    fell = [record for record in records if record.diverged]
    assert fell
    for record in fell:
        assert record.state == TrialState.PRUNED
        assert record.reports.keys() == {1, 4}
        assert (record.diverged.run, record.diverged.epoch) == (2, 1)
        assert record.mean is None
    assert any(max(r.reports.values()) > study.best().mean for r in fell)  # by luck, one looks best
    assert study.best().base_lr <= 0.05
    check_ended(study)
    check_seeds_due(study)


# --- checks -------------------------------------------------------------------------------------


@pytest.mark.parametrize("tells", [False, True])
def test_checks_stop_on_seeds_that_hold_and_go_on_to_the_end_on_those_that_collapse(place, tells):
    """What collapses then counts in the mean; where the task tells it, it is never the best."""
    study = place.create(
        "trouble:Brittle",
        trials=40,
        task={"tells": tells},
        space={"families": ["constant"], "base_lr": {"low": 0.01, "high": 0.1}, "warmup": "none"},
        sampler={"kind": "random"},
        pruning=RUNGS,
    )
    assert train(study) is NoTrialReason.DONE
    check_ended(study)
    task = Brittle()
    fell = []
    for record in study.records(epochs=True):
        for run in sorted({row.run for row in record.epochs}):
            collapses = task.collapses(record.schedule, study.rungs[run].seed)
            epochs = sum(row.run == run for row in record.epochs)
            rung = study.rungs[run]
            assert (run in record.stopped) == (rung.check and not collapses)
            assert epochs == (rung.expected_epochs if run in record.stopped else rung.epochs)
            if rung.check and collapses:
                assert record.infeasible if tells else task.collapsed in record.full_values
                fell.append(record)
    assert fell
    best = study.best()
    assert best.base_lr <= task.holds_below < max(record.base_lr for record in fell)
    known = f"mean of {len(best.full_values)} seeds, holds on {len(best.stopped)} more"
    assert best.known_from == known
    assert known in read_answer(study).summary


# --- a first horizon that says too little -------------------------------------------------------


def test_where_none_learns_anything_on_it_trials_begin_with_a_longer_one(place, caplog):
    caplog.set_level("INFO", logger="lrsearch.worker.plan")
    study = place.create("trouble:Late", trials=20, pruning={"kind": "rungs", "seeds": 2})
    assert study.horizons == (2, 4, 8)
    assert train(study) is NoTrialReason.DONE
    said = [record.getMessage() for record in caplog.records]
    reason = "none of 8 trials has learned anything in 2 epochs"
    assert said == [f"{reason}: trials begin with 4 epochs from now on"]
    steps = [sorted(record.reports) for record in study.records()]
    first = [trained[0] for trained in steps]
    assert first == sorted(first)
    assert 8 <= first.count(2) < len(first) - 4
    assert set(first) == {2, 4}
    assert max(len(trained) for trained in steps if trained[0] == 4) > 1  # in full after it
    check_ended(study)
    check_seeds_due(study)


# --- packs --------------------------------------------------------------------------------------


def test_packs_climb_rungs_too(place, small_data, exact):
    task = {"data_dir": str(small_data), "epochs": 4, "batch_size": 50, "optimizer": "adam"}
    study = place.create(
        "lrsearch.tasks.fashion_mnist:task",
        trials=12,
        task=task,
        space={"families": ["constant", "cosine"], "base_lr": {"low": 0.005, "high": 0.02}},
        sampler={"kind": "random"},
        pruning={**RUNGS, "horizons": [2, 4], "reduction_factor": 2},
    )
    queue = TrialQueue(
        study.storage, study.study_id, "cpu", 60.0, max_failures=3, plan=plan_of(study)
    )
    trainer = make_trainer(study, queue, grouping=Grouping(4, packs=True))
    together = set()
    while True:
        leases = []
        while len(leases) < 4 and isinstance(claim := queue.claim(leases), Lease):
            leases.append(claim)
        if not leases:
            break
        together.add(tuple(sorted({lease.rung for lease in leases})))
        trainer.train(leases)
    assert claim is NoTrialReason.DONE
    assert any(len(rungs) > 1 for rungs in together)  # on rungs of different lengths at once
    assert [trial.number for trial in study.optuna.get_trials()] == list(range(12))
    check_seeds_due(study)
    best = study.best()
    assert (best.number, best.mean) == (study.optuna.best_trial.number, study.optuna.best_value)
    ran = trainer.tasks.task(study.spec.task_options())
    for record in study.records(epochs=True):
        for number in sorted({row.run for row in record.epochs}):
            rung = study.rungs[number]
            alone = ran.run(record.schedule, epochs=rung.epochs, seed=rung.seed, device="cpu")
            found = [row for row in record.epochs if row.run == number]
            assert number in record.stopped or len(found) == rung.epochs
            for row, progress in zip(found, alone, strict=False):
                loss = progress.metrics["train_loss"]
                assert row.metrics["train_loss"] == pytest.approx(loss, abs=0.02)


def test_once_trials_begin_with_the_longer_horizon_they_all_do():
    """Also when those that learned nothing have gone on, and none that began so has reported."""
    plan = RungPlan(Climb(rungs_of([2, 3, 6], seeds=3), reduction_factor=4, longer=1))
    dull = [BegunTrial(n, {2: 0.1 - n / 1000}, "waiting", learned=False) for n in range(8)]
    assert plan.step(dull, may_begin=True, epochs_left=math.inf) == Step(0, 1, 3)
    gone_on = [BegunTrial(n, {**dull[n].reports, 3: 0.5}, "waiting") for n in (0, 1)]
    for begun in (dull[:7], [*gone_on, *dull[2:]]):
        assert plan.climb.says_too_little([plan._standing(trial) for trial in begun]) is None
    assert plan.step([*gone_on, *dull[2:]], may_begin=True, epochs_left=math.inf) == Step(
        None, 1, 3
    )
