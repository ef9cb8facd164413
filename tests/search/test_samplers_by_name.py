"""Optuna's samplers by name, where the space allows them; a clear word where it does not."""

import sys
from types import SimpleNamespace

import optuna
import pytest

import lrsearch
from lrsearch import StudySpec
from lrsearch.errors import SpecError
from lrsearch.integrations import function_task
from lrsearch.search import build_sampler, samplers

NUMBERS = {
    "families": ["polynomial"],
    "warmup": "none",
    "base_lr": {"low": 1e-3, "high": 1.0, "log": True},
}


def train(schedule, epochs, seed):
    """The nearer `base_lr` is to 0.1, the better."""
    return {"score": -abs(schedule.base_lr - 0.1)}


def spec_of(kind, space=NUMBERS, pruning="none", **options):
    return StudySpec.from_dict(
        {
            "study": {"name": "s", "trials": 3},
            "task": {"run": "my:task"},
            "space": space,
            "sampler": {"kind": kind, **options},
            "pruning": {"kind": pruning},
        }
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gp", "cmaes", "qmc"])
def test_a_search_samples_with_it_and_repeats_by_its_seed(kind, tmp_path):
    def search(name, kind):
        found = lrsearch.optimize(
            function_task(train, epochs=1, steps_per_epoch=20),
            trials=14, name=name, storage=f"sqlite:///{tmp_path}/study.db", device="cpu",
            space=NUMBERS, sampler={"kind": kind}, pruning={"kind": "none"}, progress=False,
        )  # fmt: skip
        return [trial.params for trial in found.trials]

    first = search("first", kind)
    assert search("again", kind) == first
    assert search("other", "random") != first
    assert len({params["base_lr"] for params in first}) == 14  # and repeats no point


def test_what_samples_numbers_alone_says_what_else_the_space_has():
    for kind in ("cmaes", "qmc"):
        assert spec_of(kind).sampler.kind == kind
        with pytest.raises(SpecError) as error:
            spec_of(kind, {"families": ["step", "cosine"]})
        assert f"sampler.kind '{kind}' samples numbers alone" in str(error.value)
        assert "schedule, warmup" in str(error.value)
        with pytest.raises(SpecError, match=r'set pruning\.kind = "none" or "epochs"'):
            spec_of(kind, pruning="rungs")
    spec_of("gp", {}, pruning="rungs")  # it takes choices too


def test_a_sampler_of_optunahub_is_loaded_by_package_and_class(monkeypatch):
    def load_module(package):
        if package != "samplers/mine":
            raise OSError("no network")
        return SimpleNamespace(Mine=optuna.samplers.RandomSampler)

    monkeypatch.setitem(sys.modules, "optunahub", SimpleNamespace(load_module=load_module))
    samplers._package.cache_clear()
    found = build_sampler("optunahub:samplers/mine:Mine", {}, seed=1)
    assert isinstance(found, optuna.samplers.RandomSampler)
    for kind, said in (
        ("optunahub:samplers/mine", "write optunahub:PACKAGE:CLASS"),
        ("optunahub:samplers/mine:Theirs", "has no class 'Theirs'"),
        ("optunahub:samplers/other:X", "cannot load 'samplers/other' from OptunaHub: no network"),
    ):
        with pytest.raises(SpecError, match=said):
            build_sampler(kind, {}, seed=1)
    with pytest.raises(SpecError, match="does not fit OptunaHub's Mine"):
        build_sampler("optunahub:samplers/mine:Mine", {"depth": 1}, seed=1)
    samplers._package.cache_clear()
