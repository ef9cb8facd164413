"""Optuna's pruners by the names that a study file gives them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from lrsearch.search.optuna_classes import Named, build

if TYPE_CHECKING:
    from optuna.pruners import BasePruner

PRUNERS: Named = {
    "median": ("MedianPruner", {}),
    "percentile": ("PercentilePruner", {"percentile": 75.0, "n_warmup_steps": 1}),
    "successive_halving": ("SuccessiveHalvingPruner", {}),
    "hyperband": ("HyperbandPruner", {}),
    "threshold": ("ThresholdPruner", {}),
    "patient": ("PatientPruner", {"wrapped_pruner": None}),
    "wilcoxon": ("WilcoxonPruner", {}),
}
"""By name: Optuna's class and the options that differ here from its defaults.

They compare trials at the same epoch.
"""


def build_pruner(name: str, options: dict[str, Any]) -> BasePruner:
    """Return Optuna's pruner of that name.

    Raises:
        SpecError: for an unknown name, or options that Optuna's class refuses.
    """
    return cast("BasePruner", build("pruners", "pruning.pruner", name, PRUNERS, options))
