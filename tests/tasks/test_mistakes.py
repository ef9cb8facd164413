"""Mistakes in a task of one's own: named before the first trial, with the rule and the fix."""

import sys
from pathlib import Path

import pytest

from lrsearch import Progress, StudySpec, cli, open_storage
from lrsearch.errors import LrsearchError, SpecError, TaskError
from lrsearch.study import check_task, rehearse, study_notes
from lrsearch.tasks import clock_of


class Honest:
    epochs = 4
    steps_per_epoch = 50

    def run(self, schedule, *, epochs, seed, device, state=None):
        for epoch in range(1, epochs + 1):
            yield Progress(epoch, {"val_loss": 1 / epoch})


class NoGenerator(Honest):
    def run(self, schedule, *, epochs, seed, device, state=None):
        return 0.5


class WrongSignature(Honest):
    def run(self, schedule, epochs):
        yield


class HalfEpochs(Honest):
    epochs = 2.5


class PlainNumbers(Honest):
    def run(self, schedule, *, epochs, seed, device, state=None):
        yield 0.5


class FromZero(Honest):
    def run(self, schedule, *, epochs, seed, device, state=None):
        yield Progress(0, {"val_loss": 0.5})


class TooMany(Honest):
    def run(self, schedule, *, epochs, seed, device, state=None):
        yield Progress(epochs + 1, {"val_loss": 0.5})


class Text(Honest):
    def run(self, schedule, *, epochs, seed, device, state=None):
        yield Progress(1, {"val_loss": "0.5"})


class BareNumber(Honest):
    def run(self, schedule, *, epochs, seed, device, state=None):
        yield Progress(1, 0.5)


class Empty(Honest):
    def run(self, schedule, *, epochs, seed, device, state=None):
        yield from ()


class Breaks(Honest):
    def run(self, schedule, *, epochs, seed, device, state=None):
        yield 1 / 0


class NotANumber(Honest):
    def run(self, schedule, *, epochs, seed, device, state=None):
        yield Progress(1, {"val_loss": float("nan")})


class OtherMetric(Honest):
    def run(self, schedule, *, epochs, seed, device, state=None):
        yield Progress(1, {"val_los": 0.5})


def spec_of(task="test_mistakes:Honest", **study):
    return StudySpec.from_dict(
        {"study": {"name": "s", "trials": 3, "metric": "val_loss", **study}, "task": {"run": task}}
    )


def check(task):
    spec = spec_of(f"test_mistakes:{type(task).__name__}")
    check_task(spec, task)
    rehearse(spec, task, "cpu")


def test_a_task_without_mistakes_passes():
    check(Honest())


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (NoGenerator, "NoGenerator.run must yield a Progress after each epoch, but returned a flo"),
        (WrongSignature, "define it as run(self, schedule, *, epochs, seed, device, state=None)"),
        (HalfEpochs, "epochs must be a whole number from 1, but is 2.5"),
        (PlainNumbers, "but yielded a float; wrap it: Progress(epoch, metrics)"),
        (FromZero, "counts the epochs trained so far, from 1, but got 0"),
        (TooMany, "yielded epoch 3 after epoch 0 of a run of 2"),
        (Text, "the metric 'val_loss' of epoch 1 must be a number, but is a str; convert it with"),
        (BareNumber, 'Progress.metrics must be a dict such as {"val_loss": 0.7}, but got a float'),
        (Empty, "run ended without an epoch; yield a Progress after each"),
        (Breaks, "failed: ZeroDivisionError: division by zero (test_mistakes.py, line"),
        (NotANumber, "at the lowest rate of the space, 0.0001: {'val_loss': nan}; check the loss"),
        (OtherMetric, "study.metric is 'val_loss', which 'test_mistakes:OtherMetric' does not giv"),
    ],
)
def test_each_mistake_is_named_with_its_fix(task, said):
    with pytest.raises(LrsearchError) as error:
        check(task())
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert isinstance(error.value, SpecError if task is OtherMetric else TaskError)


def test_a_loss_is_minimized_by_its_name_and_that_is_said():
    assert spec_of().study.direction == "minimize"
    assert spec_of(metric="val_accuracy").study.direction == "maximize"
    notes = study_notes(spec_of(), Honest())
    assert "val_loss is minimized, by its name; if more is better: study.direction" in notes
    told = spec_of(direction="maximize")
    assert told.study.direction == "maximize"
    assert "val_loss is maximized, as study.direction says; most minimize it" in study_notes(
        told, Honest()
    )
    assert StudySpec.from_dict(told.to_dict()) == told


@pytest.mark.parametrize(("sizes", "warned"), [({"choices": [64, 256]}, True), (64, False)])
def test_one_domain_of_rates_for_several_batch_sizes_is_warned_of(sizes, warned):
    spec = StudySpec.from_dict(spec_of().to_dict() | {"space": {"task.batch_size": sizes}})
    notes = " ".join(study_notes(spec, Honest()))
    assert ("searches each size by itself" in notes) == warned


@pytest.mark.parametrize(
    ("steps", "from_zero", "warned"), [(1, False, True), (2, False, False), (1, True, False)]
)
def test_a_warmup_that_is_at_its_peak_from_the_start_is_warned_of(steps, from_zero, warned):
    length = clock_of(Honest()).length
    warmup = {"shape": "linear", "fraction": steps / length, "from_zero": from_zero}
    given = {"schedule": "constant", "base_lr": 0.1, "warmup": warmup}
    spec = StudySpec.from_dict(spec_of().to_dict() | {"schedules": [given]})
    (schedule,) = spec.given_schedules()
    assert (schedule.lr(0, length) == schedule.base_lr) == warned
    notes = " ".join(study_notes(spec, Honest()))
    assert ("number 1 warms up for one update or less" in notes) == warned


@pytest.mark.parametrize(("trials", "early"), [(9, 3), (10, 2), (25, 1), (50, 0)])
def test_adams_options_searched_too_early_are_warned_of(trials, early):
    space = {f"task.optimizer.{name}": {} for name in ("one_minus_beta1", "eps", "one_minus_beta2")}
    data = spec_of().to_dict()
    data |= {"space": space, "study": data["study"] | {"trials": trials}}
    notes = study_notes(StudySpec.from_dict(data), Honest())
    assert sum("the tuning playbook" in note for note in notes) == early


@pytest.fixture
def launch(monkeypatch, capsys, tmp_path):
    """Launch a task of this file's in an empty folder; return exit status, output and errors."""

    def launch(task, *sections):
        (tmp_path / "study.toml").write_text(
            '[study]\nname = "s"\ntrials = 3\nmetric = "val_loss"\n'
            f'[task]\nrun = "test_mistakes:{task}"\n' + "".join(sections)
        )
        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend(Path(__file__).parent)  # as the working directory is
        monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
        arguments = ["launch", "study.toml", "--device", "cpu", "--workers", "1"]
        monkeypatch.setattr(sys, "argv", ["lrsearch", *arguments])
        try:
            cli.main()
            status = 0
        except SystemExit as end:
            status = int(end.code or 0)
        return status, *capsys.readouterr()

    return launch


def test_launch_names_the_mistake_in_one_line_and_writes_nothing(launch, tmp_path):
    status, _, err = launch("PlainNumbers")
    assert status == 1
    assert err.startswith("error: PlainNumbers.run must yield a Progress")
    assert len(err.splitlines()) == 1
    assert not open_storage(f"sqlite:///{tmp_path}/lrsearch.db").get_all_studies()


class Bursts(Honest):
    """Diverges at every rate above the lowest."""

    def run(self, schedule, *, epochs, seed, device, state=None):
        yield Progress(1, {"val_loss": 1.0 if schedule.base_lr <= 0.01 else float("inf")})


@pytest.mark.slow
def test_a_search_in_which_every_trial_diverged_ends_in_an_error_with_advice(launch):
    status, _, err = launch("Bursts", "[space]\nbase_lr = {low = 0.01, high = 0.5}\n")
    assert status == 1
    assert "all 3 trials diverged: lower space.base_lr" in err
    assert "lrsearch find-lr" in err
