"""Workers that share one GPU."""

import os
import signal

import pytest
import torch
from optuna.trial import TrialState
from place import check_curves

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here"),
]


def test_two_workers_on_one_device_finish_a_study_though_one_is_killed(place, small_data, exact):
    study = place.create(
        "trouble:Held",
        trials=12,
        task={"data_dir": str(small_data), "epochs": 6},
        pruning={"kind": "horizons", "horizons": [3, 6]},
        workers={"lease": 5.0},
    )
    place.hold()
    launcher = place.start(
        *("launch", "study.toml", "--device", "cuda", "--workers", "2", "--workers-per-device", "2")
    )
    victim = place.wait_until_held()
    os.kill(victim, signal.SIGKILL)
    place.let_go()
    assert place.end(launcher) == 0
    trials = study.optuna.get_trials()
    assert [trial.number for trial in trials] == list(range(12))
    assert {trial.state for trial in trials} <= {TrialState.COMPLETE, TrialState.PRUNED}
    check_curves(study, "cuda")
