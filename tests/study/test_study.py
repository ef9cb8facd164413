"""Studies: made once, refused when changed, trained as the spec says."""

import io
import json
import math
import sys
import warnings
from dataclasses import replace
from importlib.metadata import version

import optuna
import pytest
from optuna.trial import TrialState

from lrsearch import Progress, Schedule, StudySpec, cli, create_study, open_storage, open_study
from lrsearch.errors import SpecError, StudyError
from lrsearch.evaluation import find_answer
from lrsearch.storage import NoTrialReason, read_metrics
from lrsearch.study import read_status
from lrsearch.worker import work


class Fake:
    """A task that trains nothing: its value is how near `base_lr` is to 0.1, on a log axis."""

    epochs = 4
    steps_per_epoch = 50
    metric_names = ("score",)

    def __init__(self, diverges_above: float = math.inf) -> None:
        self.diverges_above = diverges_above

    def run(self, schedule, *, epochs, seed, device, state=None):
        for epoch in range(1, epochs + 1):
            score = -abs(math.log10(schedule.base_lr / 0.1)) - 1 / epoch
            if schedule.base_lr > self.diverges_above and epoch == 2:
                yield Progress(epoch, {"score": math.nan}, step=77, lr=schedule.base_lr)
                return
            yield Progress(epoch, {"score": score})


def make(url, trials=5, pruning="none", sampler="tpe", options=None, **sections):
    spec = StudySpec.from_dict(
        {
            "study": {"name": "fake", "trials": trials, "metric": "score"},
            "task": {"run": f"{__name__}:Fake", **(options or {})},
            "space": {"base_lr": {"low": 1e-4, "high": 10.0}},
            "sampler": {"kind": sampler},
            "pruning": {"kind": "none"}
            if pruning == "none"
            else {"kind": "epochs", "pruner": pruning},
            **sections,
        }
    )
    return create_study(open_storage(url), spec, Fake(**(options or {})))


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/study.db"


def trials_of(study):
    return [
        (trial.number, trial.params, trial.values, trial.state) for trial in study.optuna.trials
    ]


def test_one_seed_one_study(tmp_path):
    studies = []
    for name in ("a", "b"):
        study = make(f"sqlite:///{tmp_path}/{name}.db", trials=25, pruning="median")
        assert work(f"sqlite:///{tmp_path}/{name}.db", None, "cpu") is NoTrialReason.DONE
        studies.append(trials_of(study))
    assert studies[0] == studies[1]
    assert {state for *_, state in studies[0]} == {TrialState.COMPLETE, TrialState.PRUNED}


def test_the_search_finds_what_there_is_to_find(url):
    study = make(url, trials=60)
    work(url, None, "cpu")
    assert abs(math.log10(study.best().params["base_lr"] / 0.1)) < 0.1


def test_given_schedules_are_trained_first_and_as_given(url):
    given = [
        {"schedule": "cosine", "base_lr": 0.1},  # min_factor 0 lies outside its domain
        {"schedule": "rex", "base_lr": 0.02, "warmup": {"shape": "linear", "fraction": 0.05}},
    ]
    study = make(url, trials=3, schedules=given)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        work(url, None, "cpu")
    first, second, third = study.optuna.trials
    assert [record.schedule for record in study.records()[:2]] == [
        Schedule.from_dict(s) for s in given
    ]
    assert first.params == {}
    assert second.params == {
        "schedule": "rex", "base_lr": 0.02, "warmup": "linear", "warmup_steps": 10,
    }  # fmt: skip
    assert set(third.params) >= {"schedule", "base_lr"}


def test_params_rebuild_the_schedule_of_every_trial(finished_study):
    study = open_study(open_storage(finished_study))
    from lrsearch.tasks.optimizers import OPTIMIZERS

    space = study.spec.search_space(OPTIMIZERS["momentum"].base_lr)
    for trial in study.records()[2:]:
        fixed = optuna.trial.FixedTrial(dict(trial.params))
        assert space.suggest(fixed, trial.total_steps) == trial.schedule


def test_a_diverged_trial_is_pruned_infeasible_and_says_where(url):
    study = make(url, trials=12, sampler="random", options={"diverges_above": 0.5})
    work(url, None, "cpu")
    diverged = [study.optuna.trials[t.number] for t in study.records() if t.base_lr > 0.5]
    assert diverged
    for trial in diverged:
        assert trial.state == TrialState.PRUNED
        lr = study.record(trial.number).base_lr
        assert trial.user_attrs["diverged"] == {"run": 0, "epoch": 2, "step": 77, "lr": lr}
        assert trial.constraints == {"diverged": 1.0}
        last = read_metrics(study.storage, study.study_id, [trial.number])[-1]
        assert (last.epoch, last.step, last.lr) == (2, 77, lr)
        assert math.isnan(last.metrics["score"])
    status = read_status(study)
    assert status.diverged == status.pruned == len(diverged)
    assert status.finished == 12


def test_tpe_ranks_diverged_trials_last():
    """Where nothing is complete, TPE follows the pruned trials that look best: not if marked."""

    def share_beyond(mark: bool) -> float:
        study = optuna.create_study(
            direction="maximize", sampler=optuna.samplers.TPESampler(seed=0)
        )
        for index in range(30):
            study.enqueue_trial({"x": index / 30})
        for _ in range(60):
            trial = study.ask()
            beyond = trial.suggest_float("x", 0, 1) > 0.5
            trial.report(float(beyond), 1)  # what diverges later looks better before
            if beyond and mark:
                trial.set_constraint("diverged", 1.0)
            study.tell(trial, state=TrialState.PRUNED)
        return sum(trial.params["x"] > 0.5 for trial in study.trials[30:]) / 30

    assert share_beyond(mark=False) > 0.7
    assert share_beyond(mark=True) < 0.2


def test_a_changed_spec_is_refused_with_the_keys_that_differ(url):
    make(url)
    assert make(url).name == "fake"
    with pytest.raises(StudyError, match=r"pruning\.pruner: 'not set' → 'median'.*new name"):
        make(url, pruning="median")
    with pytest.raises(StudyError, match=r"study\.trials: 5 → 6.*--trials"):
        make(url, trials=6)


def test_a_metric_or_a_warmup_that_does_not_fit_writes_nothing(url, tmp_path):
    with pytest.raises(SpecError, match=r"'val_accuracy', which .* did you|known: score"):
        make(url, study={"name": "x", "trials": 1})
    with pytest.raises(SpecError, match="under the run's 200 updates, but may be 200"):
        make(url, space={"warmup_steps": 200})
    assert open_storage(url).get_all_studies() == []


def test_studies_that_are_not_there_or_not_ours(url):
    storage = open_storage(url)
    with pytest.raises(StudyError, match="has no study"):
        open_study(storage)
    optuna.create_study(storage=storage, study_name="plain")
    with pytest.raises(StudyError, match="'plain' was not made by lrsearch"):
        open_study(storage)
    study = make(url)
    with pytest.raises(StudyError, match="has the studies fake, plain"):
        open_study(storage)
    with pytest.raises(StudyError, match="no study 'fak'; its studies: fake, plain"):
        open_study(storage, "fak")
    assert open_study(storage, "fake").spec == study.spec
    with pytest.raises(StudyError, match="no trained trial"):
        study.best()
    study.optuna.ask()
    plain = optuna.load_study(study_name="plain", storage=storage)
    plain.ask()
    with pytest.raises(StudyError, match="not made by lrsearch"):
        make(url, study={"name": "plain", "trials": 1, "metric": "score"})


def test_creation_that_broke_off_is_completed(url, monkeypatch):
    given = [{"schedule": "cosine", "base_lr": 0.1}, {"schedule": "rex", "base_lr": 0.1}]
    with monkeypatch.context() as patch:
        patch.setattr(optuna.Study, "set_user_attr", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            make(url, schedules=given)
    study = make(url, schedules=given)
    assert [trial.state for trial in study.optuna.trials] == [TrialState.WAITING] * 2
    assert study.target == 5


def test_status_counts_add_up(finished_study):
    status = read_status(open_study(open_storage(finished_study)))
    assert status.complete + status.pruned == status.target == 8
    assert status.running == status.waiting == status.failed == 0
    assert status.diverged == 1
    assert status.workers == []
    best = find_answer(open_study(open_storage(finished_study)))
    assert best is not None
    assert best.trial.family == best.trial.params.get("schedule", "one_cycle")


def test_all_trials_are_a_table_the_same_in_every_form(finished_study, monkeypatch, capsys):
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    study = open_study(open_storage(finished_study))
    frame = study.trials_dataframe()
    assert list(frame["trial"]) == list(range(8))
    records = study.records(epochs=True)
    assert list(frame["outcome"]) == [record.outcome for record in records]
    for record, (_, row) in zip(records, frame.iterrows(), strict=True):
        assert row["epochs"] == len(record.epochs)
        assert row["base_lr"] == record.base_lr
        for name, value in record.params.items():
            if name not in ("schedule", "base_lr"):
                assert row[name] == value

    def listed(*arguments):
        command = ["lrsearch", "trials", "--storage", finished_study, *arguments]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert not end.value.code
        return capsys.readouterr().out

    rows = json.loads(listed("--format", "json"))
    assert pd.DataFrame(rows).equals(frame)
    text = pd.read_csv(io.StringIO(listed("--format", "csv")))
    assert list(text.columns) == list(frame.columns)
    assert text["base_lr"].tolist() == frame["base_lr"].tolist()
    for columns in ("80", "100"):
        monkeypatch.setenv("COLUMNS", columns)
        table = listed()
        assert all(f"{trial:>5}" in table for trial in range(8))
        assert "diverged" in table
        assert max(map(len, table.splitlines())) <= int(columns)
        assert ("drop_factor" in table) == (columns == "100")
        assert ("listed from 100 columns on" in table) == (columns == "80")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pandas", None)
        with pytest.raises(StudyError, match=r"pip install 'lrsearch\[pandas\]'"):
            study.trials_dataframe()


def test_a_study_keeps_what_its_trials_were_trained_with(finished_study, small_data):
    study = open_study(open_storage(finished_study))
    assert study.versions["torch"] == version("torch")
    settings = study.settings(study.best())
    assert settings == {
        "optimizer": "momentum", "batch_size": 50, "clip_norm": None, "precision": "fp32",
    }  # fmt: skip
    searched = replace(study.best(), params={"task.batch_size": 100})
    space = {**study.spec.space, "task.batch_size": {"choices": [50, 100]}}
    study.spec = study.spec.model_copy(update={"space": space})
    assert study.settings(searched) == {**settings, "batch_size": 100}


def test_a_best_that_diverges_while_it_is_read_is_not_the_best(url, monkeypatch):
    study = make(url, trials=12, options={"diverges_above": 0.3})
    work(url, None, "cpu")
    now = study.results()
    diverged = next(trial for trial in now if trial.value is None)
    before = replace(diverged, diverged=None, reports={4: 99.0})
    reads = iter([[before], now])
    monkeypatch.setattr(study, "results", lambda: next(reads))
    assert before.value == 99.0
    assert study.best().value == max(trial.value for trial in now if trial.value is not None)
    assert next(reads, None) is None
