"""A study that learns from an earlier one: what it takes, what it costs, what it refuses."""

import pytest

from lrsearch import StudySpec, create_study, open_storage
from lrsearch.errors import StudyError
from lrsearch.study import read_status
from lrsearch.worker import work
from tests.noisy import Noisy

SPACE = {"families": ["cosine", "step"], "base_lr": {"low": 1e-3, "high": 10.0}}


def make(url, name, *, earlier=None, **sections):
    spec = StudySpec.from_dict(
        {
            "study": {"name": name, "trials": 8, "metric": "score"},
            "task": {"run": "tests.noisy:Noisy"},
            "space": SPACE,
            "pruning": {"kind": "rungs", "horizons": [2, 6]},
            **sections,
        }
    )
    return create_study(open_storage(url), spec, Noisy(), earlier)


@pytest.fixture
def first(tmp_path):
    """A finished study of eight trials."""
    url = f"sqlite:///{tmp_path}/first.db"
    study = make(url, "first")
    work(url, None, "cpu")
    return study


def test_trials_inside_the_space_are_learned_from_and_cost_nothing(first, tmp_path):
    inside = [t for t in first.records() if t.family == "cosine" and 0.01 <= t.base_lr <= 1]
    assert 0 < len(inside) < 8
    url = f"sqlite:///{tmp_path}/second.db"
    space = {"families": ["cosine", "wsd"], "base_lr": {"low": 0.01, "high": 1.0}}
    study = make(url, "second", earlier=first, space=space)
    assert study.learns_from == ("first", len(inside))
    assert (read_status(study).epochs, len(study.records())) == (0, 0)
    work(url, None, "cpu")
    assert len(study.records()) == 8
    assert make(url, "second", space=space).learns_from == ("first", len(inside))  # found again


def test_the_sampler_sees_them(first, tmp_path):
    """With eight more trials known, TPE is past its random start: what it suggests differs."""
    drawn = []
    for name, earlier in (("with", first), ("without", None)):
        url = f"sqlite:///{tmp_path}/{name}.db"
        sampler = {"kind": "tpe", "n_startup_trials": 4}
        study = make(url, "second", earlier=earlier, sampler=sampler)
        work(url, None, "cpu")
        drawn.append(study.record(0).params)
    assert drawn[0] != drawn[1]


def test_what_cannot_be_learned_from_is_refused_and_nothing_is_written(first, tmp_path):
    url = f"sqlite:///{tmp_path}/second.db"
    with pytest.raises(StudyError, match="none of its trials lies in this study's space"):
        make(url, "second", earlier=first, space={"families": ["noam"]})
    lower = {"name": "second", "trials": 8, "metric": "score", "direction": "minimize"}
    with pytest.raises(StudyError, match=r"its direction is 'maximize'.* 'minimize'"):
        make(url, "second", earlier=first, study=lower)
    assert open_storage(url).get_all_studies() == []
