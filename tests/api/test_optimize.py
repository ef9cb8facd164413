"""One call: a search in this process, its answer, what it shows and how it goes on."""

import _thread
import json
import threading

import pytest

import lrsearch
from lrsearch import LrsearchError, Progress
from lrsearch.api.search import STORAGE
from lrsearch.cli.options import DEFAULT_STORAGE
from lrsearch.errors import StudyError, TaskError
from lrsearch.integrations import function_task

SPACE = {"families": ["constant", "cosine", "step"], "base_lr": {"low": 1e-3, "high": 0.5}}


def train(schedule, epochs, seed):
    """Gradient descent on a parabola, from where the seed puts it."""
    weight = 1.0 + seed / 100
    for epoch in range(epochs):
        for step in range(25 * epoch, 25 * (epoch + 1)):
            weight -= 0.2 * schedule.lr(step, 25 * epochs) * weight
        yield {"val_loss": weight**2, "weight": weight}


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/study.db"


def search(url, trials=8, task=None, **options):
    task = task or function_task(train, epochs=8, steps_per_epoch=25)
    return lrsearch.optimize(
        task, trials, storage=url, device="cpu", space=SPACE, **{"progress": False, **options}
    )


def test_one_call_returns_the_best_and_all_that_belongs_to_it(url, tmp_path):
    found = search(url)
    assert len(found.trials) == 8
    assert found.study.spec.study.direction == "minimize"  # the metric is val_loss
    values = [trial.mean for trial in found.trials if trial.mean is not None]
    assert found.best.mean == min(values) == found.value
    assert found.schedule == found.best.schedule
    assert found.optuna.study_name == found.name == "functiontask-1"
    assert json.loads(found.export())["schedule"] == found.schedule.to_dict()
    assert found.plot("by_family").data
    assert found.name in found.report(tmp_path / "report.html").read_text()
    with pytest.raises(LrsearchError, match="did you mean 'by_family'"):
        found.plot("by_familie")


def test_notebooks_show_the_search_and_its_schedule(url):
    found = search(url)
    page = found._repr_html_()
    assert found.name in page
    assert "<svg" in page
    assert f"{found.schedule.base_lr:.4g}" in found.schedule._repr_html_()
    assert "8 of 8 trials" in repr(found)


def test_confirm_trains_the_best_again_here(url):
    confirmation = search(url).confirm(top=2, seeds=2)
    assert len(confirmation.seeds) == 2
    assert all(len(entry.values) == 2 for entry in confirmation.entries)
    assert confirmation.winner.name in confirmation._repr_html_()


def test_a_name_goes_on_and_none_begins_anew(url):
    first = search(url, trials=4)
    more = search(url, trials=6, name=first.name)
    assert more.name == first.name
    assert len(more.trials) == 6
    assert search(url, trials=2).name == "functiontask-2"
    with pytest.raises(StudyError, match="exists with another spec"):
        search(url, trials=6, name=first.name, seed=7)
    longer = function_task(train, epochs=16, steps_per_epoch=25)
    with pytest.raises(StudyError, match="made with another task"):
        search(url, trials=6, name=first.name, task=longer)


def test_it_is_kept_where_the_commands_look_but_only_this_process_can_train_it(url):
    assert STORAGE == DEFAULT_STORAGE
    found = search(url, trials=2)
    opened = lrsearch.Search.open(storage=url)
    assert opened.best.number == found.best.number
    with pytest.raises(TaskError, match=r"only lrsearch\.optimize\(task, name=…\) can train it"):
        opened.confirm()
    from lrsearch.tasks import Slot
    from lrsearch.worker import Processes, run_workers

    with pytest.raises(TaskError, match="a FunctionTask, lives in the Python session"):
        run_workers(opened.study, url, Processes([Slot("cpu", {}, "auto")]))


def test_a_bar_and_callbacks_follow_every_epoch_and_trial(url, capsys):
    heard = []

    class Listens:
        def __init__(self, study):
            heard.append(study.name)

        def epoch(self, row):
            heard.append((row.trial, row.run, row.epoch))
            raise RuntimeError("a callback's own trouble")

        def trial(self, record):
            heard.append((record.number, record.outcome))

        def close(self):
            heard.append("closed")

    found = search(url, trials=3, callbacks=[Listens], progress=True)
    assert heard[0] == found.name
    assert heard[-1] == "closed"
    rows = [(r.trial, r.run, r.epoch) for t in found.study.records(epochs=True) for r in t.epochs]
    assert sorted(h for h in heard if len(h) == 3) == sorted(rows)
    ended = [h for h in heard if len(h) == 2]
    assert sorted(ended) == [(t.number, t.outcome) for t in found.trials]
    assert "3/3 trials" in capsys.readouterr().err


def test_ctrl_c_keeps_what_was_trained_and_the_name_goes_on(url):
    def slow(schedule, epochs, seed):
        for value in train(schedule, epochs, seed):
            if epochs == 8 and not interrupted:
                interrupted.append(True)
                _thread.interrupt_main()
                threading.Event().wait(60)  # the signal ends it
            yield value

    interrupted = []
    task = function_task(slow, epochs=8, steps_per_epoch=25)
    with pytest.raises(KeyboardInterrupt, match="name='functiontask-1' to go on"):
        search(url, task=task)
    assert lrsearch.Search.open(storage=url).trials
    assert len(search(url, task=task, name="functiontask-1").trials) == 8


@pytest.mark.parametrize(
    ("task", "options", "said"),
    [
        (train, {}, "needs a task, but got a function; lrsearch.integrations makes one"),
        (None, {"metric": "val_acc"}, "metric is 'val_acc', which the task does not give"),
        (None, {"time": "soon"}, "a time is such as"),
    ],
)
def test_mistakes_are_named(url, task, options, said):
    with pytest.raises(LrsearchError) as error:
        search(url, task=task, **options)
    assert said in str(error.value)


def test_a_search_without_a_result_says_so(url):
    def fails(schedule, epochs, seed):
        return {"val_loss": float("inf") if schedule.base_lr > 0.00101 else 1.0}

    with pytest.raises(StudyError, match="all 3 trials diverged: lower"):
        search(url, trials=3, task=function_task(fails, epochs=8, steps_per_epoch=25))


def test_a_function_gets_device_and_state_where_it_takes_them():
    seen = []

    def resumable(schedule, epochs, seed, device, state):
        seen.append((device, state))
        for epoch in range(state["epoch"] if state else 0, epochs):
            yield Progress(epoch + 1, {"v": 1.0}, capture=lambda e=epoch: {"epoch": e + 1})

    task = function_task(resumable, epochs=4, steps_per_epoch=25)
    schedule = lrsearch.Schedule(lrsearch.families["constant"](), 0.1)
    run = {"epochs": 4, "seed": 0, "device": "cpu"}
    states = [progress.capture() for progress in task.run(schedule, **run)]
    rest = list(task.run(schedule, **run, state=states[1]))
    assert [progress.epoch for progress in rest] == [3, 4]
    assert seen == [("cpu", None), ("cpu", {"epoch": 2})]
    with pytest.raises(TaskError, match=r"define it as lone\(schedule, epochs, seed\)"):
        function_task(lone, epochs=1, steps_per_epoch=1)


def lone(schedule):
    """A function that cannot be told how long to train."""
