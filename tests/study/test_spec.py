"""The study file: read whole, refused clearly, stored and read back unchanged."""

import copy
import json
from pathlib import Path

import pytest

from lrsearch import StudySpec
from lrsearch.errors import LrsearchError, SpecError

STUDIES = Path(__file__).parents[2] / "studies"
BASE = {
    "study": {"name": "a", "trials": 3},
    "task": {"run": "module:task", "epochs": 3, "optimizer": {"name": "adam"}},
}


def changed(path: str, value: object) -> dict:
    data = copy.deepcopy(BASE)
    *parents, last = path.split("/")
    table = data
    for key in parents:
        table = table.setdefault(key, {})
    table[last] = value
    return data


@pytest.mark.parametrize("path", sorted(STUDIES.glob("*.toml")), ids=lambda path: path.name)
def test_study_files_that_come_along_survive_json(path):
    spec = StudySpec.from_toml(path)
    assert StudySpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    assert spec.differences(spec) == []


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("study/trials", 0, "study.trials = 0: input should be greater than or equal to 1"),
        ("study/trials", "3", "study.trials = '3'"),
        ("study/trials", True, "study.trials = True"),
        ("study/trails", 3, "unknown key 'study.trails'; did you mean 'trials'?"),
        ("study/direction", "up", "'maximize' or 'minimize'"),
        ("study/name", "", "study.name = ''"),
        ("stuudy", {}, "unknown key 'stuudy'; did you mean 'study'?"),
        ("study", 5, "study = 5"),
        ("task/run", "module.task", "task.run = 'module.task'"),
        ("space/families", "cosine", "list of names"),
        ("space/families", ["cosin"], "did you mean 'cosine'"),
        ("space/base_lr", {"low": 2.0, "high": 1.0}, "low=2.0, high=1.0"),
        ("space/base_lr", {"low": "a", "high": 1.0}, "low must be of type"),
        ("space/task.batch_size", {"low": 64}, "needs low and high"),
        ("sampler", {"kind": "tpx"}, "did you mean 'tpe'"),
        ("sampler", {"kind": "tpe", "n_startups": 1}, "n_startups"),
        ("sampler", {"kind": "tpe", "seed": 1}, "study.seed"),
        ("pruning", {"kind": "mediam"}, "did you mean 'median'"),
        ("pruning", {"kind": "epochs", "pruner": "percentile", "percentile": 200.0}, "200"),
        ("schedules", [{"schedule": "cosine"}], "number 1: a schedule needs the key 'base_lr'"),
        ("schedules", [{"schedule": "cosine", "base_lr": -1}], "base_lr must be positive"),
        ("workers/lease", 0.5, "workers.lease = 0.5"),
    ],
)
def test_bad_values_are_refused_with_key_value_and_rule(path, value, said):
    with pytest.raises(SpecError) as raised:
        StudySpec.from_dict(changed(path, value))
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_missing_sections_are_named():
    with pytest.raises(SpecError, match=r"study is missing; add it; task is missing; add it"):
        StudySpec.from_dict({})


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(SpecError, match=r"nowhere\.toml: No such file"):
        StudySpec.from_toml(tmp_path / "nowhere.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text('[study]\nname = "a\n')
    with pytest.raises(SpecError, match=r"broken\.toml is not valid TOML: .*line 2, column 10"):
        StudySpec.from_toml(broken)
    broken.write_bytes(b"\xff\xfe")
    with pytest.raises(SpecError, match="not UTF-8"):
        StudySpec.from_toml(broken)
    with pytest.raises(SpecError, match="Is a directory"):
        StudySpec.from_toml(tmp_path)


def test_differences_name_the_keys_with_both_values():
    spec = StudySpec.from_dict(BASE)
    other = StudySpec.from_dict(changed("task/epochs", 5))
    assert spec.differences(other) == ["task.epochs: 3 → 5"]
    other = StudySpec.from_dict(changed("space/step.drop_factor", 0.5))
    assert spec.differences(other) == ["space.step.drop_factor: 'not set' → 0.5"]


def test_task_options_may_be_searched():
    from optuna.trial import FixedTrial

    spec = StudySpec.from_dict(
        changed("space", {
            "task.batch_size": {"choices": [64, 128]},
            "task.optimizer.weight_decay": {"low": 1e-5, "high": 1e-2, "log": True},
            "task.epochs": 7,
        })
    )  # fmt: skip
    trial = FixedTrial({"task.batch_size": 128, "task.optimizer.weight_decay": 1e-3})
    assert spec.task_options(trial) == {
        "epochs": 7,
        "batch_size": 128,
        "optimizer": {"name": "adam", "weight_decay": 1e-3},
    }
    assert spec.task_options() == {
        "epochs": 7,
        "batch_size": 64,
        "optimizer": {"name": "adam", "weight_decay": 1e-5},
    }


def test_adams_own_options_have_usual_domains():
    """An empty table takes the default; what is given of it is narrower."""
    import optuna
    from optuna.distributions import FloatDistribution

    options = ("one_minus_beta1", "one_minus_beta2", "eps")
    spec = StudySpec.from_dict(
        changed("space", {f"task.optimizer.{name}": {} for name in options[:2]}
                | {"task.optimizer.eps": {"high": 1e-6}})
    )  # fmt: skip
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    trial = study.ask()
    optimizer = spec.task_options(trial)["optimizer"]
    assert {"name": "adam", **{name: optimizer[name] for name in options}} == optimizer
    assert trial.distributions == {
        "task.optimizer.one_minus_beta1": FloatDistribution(0.01, 0.5, log=True),
        "task.optimizer.one_minus_beta2": FloatDistribution(1e-4, 0.1, log=True),
        "task.optimizer.eps": FloatDistribution(1e-10, 1e-6, log=True),
    }
    with pytest.raises(SpecError, match="needs low and high"):
        StudySpec.from_dict(changed("space", {"task.optimizer.weight_decay": {}})).task_options()


def test_no_input_escapes_as_another_error():
    for value in (None, 1, [], "x", {"study": None}, {"study": {"name": 1}}, {"space": []}):
        with pytest.raises(LrsearchError):
            StudySpec.from_dict(value)
