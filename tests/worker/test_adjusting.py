"""A trial whose warmup is adjusted as it trains: all speak of the curve that was trained."""

import csv
import io

import pytest

from lrsearch import Schedule, StudySpec, create_study, open_storage
from lrsearch.errors import ScheduleError, SpecError
from lrsearch.evaluation import read_answer, train
from lrsearch.export import FORMATS, Exported
from lrsearch.schedules import Clock
from lrsearch.storage import TrialQueue
from lrsearch.study import check_task
from lrsearch.tasks import load_task
from lrsearch.worker import work
from tests.in_process import make_trainer
from tests.noisy import Noisy

ASKED = {
    "schedule": "constant",
    "base_lr": 0.01,
    "warmup": {"shape": "linear", "fraction": 0.2, "adjust": True},
}


def create(folder, pruning, trials=1, **sections):
    url = f"sqlite:///{folder}/study.db"
    spec = StudySpec.from_dict(
        {
            "study": {"name": "adjusted", "trials": trials},
            "task": {"run": "tests.diagnosis.networks:unstable", "epochs": 3},
            "pruning": pruning,
            "schedules": [ASKED],
            **sections,
        }
    )
    task = load_task(spec.task.run, spec.task_options())
    return create_study(open_storage(url), spec, task), url


def test_the_first_run_settles_the_schedule_and_all_runs_train_it(tmp_path):
    """On a short horizon, in full, on another seed; and so it is exported."""
    study, url = create(tmp_path, {"kind": "rungs", "horizons": [1, 3], "seeds": 2})
    work(url, None, "cpu")
    (trial,) = study.records(epochs=True)
    assert {(row.run, row.epoch) for row in trial.epochs} > {(0, 1), (1, 3)}
    schedule = trial.schedule
    assert not schedule.adjusts
    assert schedule.warmup.doubled_at
    for row in trial.epochs:
        clock = Clock(100 * (1 if row.run == 0 else 3), 3)
        assert row.lr == clock.lr(schedule, row.step - 1)
    best = Exported.of(study, read_answer(study))
    assert best.schedule == schedule
    rates = [float(row["lr"]) for row in csv.DictReader(io.StringIO(FORMATS["csv"](best)))]
    assert rates == Clock(300, 3).curve(schedule).tolist()
    module: dict = {"__name__": "exported"}
    exec(compile(FORMATS["python"](best), "exported.py", "exec"), module)
    assert [module["Schedule"]().lr(step, 300) for step in range(300)] == rates
    assert Schedule.from_dict(schedule.to_dict()) == schedule


class Died(BaseException):
    """The worker is no more: nothing after this ran."""


@pytest.mark.parametrize("kept", [True, False], ids=["from a checkpoint", "from the start"])
def test_a_trial_whose_worker_dies_comes_to_the_same(kept, tmp_path):
    shown = []
    for name, dies in (("whole", False), ("resumed", True)):
        (tmp_path / name).mkdir()
        study, url = create(tmp_path / name, {"kind": "none"})
        if dies:
            passed = []

            def next_progress(rounds, passed=passed):
                if passed:
                    raise Died
                passed.append(1)
                return next(rounds, None)

            queue = TrialQueue(study.storage, study.study_id, "cpu", seconds=60, max_failures=3)
            trainer = make_trainer(study, next_progress=next_progress)
            lease = queue.claim()
            with pytest.raises(Died):
                trainer.train([lease])
            queue.hand_back(lease)
            if not kept:
                trainer.checkpoints.remove(0)
        work(url, None, "cpu")
        (trial,) = study.records(epochs=True)
        shown.append((trial.schedule, [(row.epoch, row.lr, row.metrics) for row in trial.epochs]))
    assert shown[0] == shown[1]
    assert shown[0][0].warmup.doubled_at


def test_what_trains_no_such_warmup_refuses_the_study(tmp_path):
    study = {"study": {"name": "s", "trials": 1, "metric": "score"}}
    asks = {**study, "task": {"run": "tests.noisy:Noisy"}, "space": {"warmup_adjust": True}}
    with pytest.raises(SpecError, match=r"space.warmup_adjust .*\(adjusts_warmup = True\)"):
        check_task(StudySpec.from_dict(asks), Noisy())
    with pytest.raises(SpecError, match="warmup_prepend does; leave one out"):
        create(tmp_path, {"kind": "none"}, space={"warmup_adjust": True, "warmup_prepend": True})
    with pytest.raises(SpecError, match="one curve on all seeds"):
        create(tmp_path, {"kind": "none"}, trials=2, confirm={"seeds": [0, 1]})
    task = load_task("tests.diagnosis.networks:stable", {})
    with pytest.raises(ScheduleError, match="no curve before"):
        next(train(task, Schedule.from_dict(ASKED), seed=0, device="cpu"))
