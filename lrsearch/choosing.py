"""Optuna's samplers and pruners by the names that a study file gives them."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, cast

from lrsearch.errors import SpecError, nearest

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler

SAMPLERS: dict[str, tuple[str, dict[str, Any]]] = {
    "tpe": ("TPESampler", {"multivariate": True, "group": True}),
    "random": ("RandomSampler", {}),
}
"""By kind: Optuna's class and the options that differ here from its defaults."""

PRUNERS: dict[str, tuple[str, dict[str, Any]]] = {
    "median": ("MedianPruner", {}),
    "percentile": ("PercentilePruner", {"percentile": 75.0, "n_warmup_steps": 1}),
    "successive_halving": ("SuccessiveHalvingPruner", {}),
    "hyperband": ("HyperbandPruner", {}),
    "threshold": ("ThresholdPruner", {}),
    "patient": ("PatientPruner", {"wrapped_pruner": None}),
    "wilcoxon": ("WilcoxonPruner", {}),
}
"""The same for pruners that compare trials at the same epoch."""


def build_sampler(kind: str, options: dict[str, Any], seed: int) -> BaseSampler:
    """Return Optuna's sampler of that kind.

    Raises:
        SpecError: for an unknown kind, or options that Optuna's class refuses.
    """
    if "seed" in options:
        raise SpecError("sampler.seed has no place there: set study.seed instead")
    return cast("BaseSampler", _build("sampler.kind", kind, SAMPLERS, {**options, "seed": seed}))


def build_pruner(name: str, options: dict[str, Any]) -> BasePruner:
    """Return Optuna's pruner of that name.

    Raises:
        SpecError: for an unknown name, or options that Optuna's class refuses.
    """
    return cast("BasePruner", _build("pruning.pruner", name, PRUNERS, options))


def _build(
    key: str, kind: str, kinds: dict[str, tuple[str, dict[str, Any]]], options: dict[str, Any]
) -> Any:
    from optuna import pruners, samplers
    from optuna.exceptions import ExperimentalWarning

    section, _ = key.split(".")
    if kind not in kinds:
        raise SpecError(f"{key} is {kind!r}; {nearest(kind, kinds)}")
    name, defaults = kinds[kind]
    optuna_class = getattr(samplers if section == "sampler" else pruners, name)
    try:
        with warnings.catch_warnings():  # Optuna calls some of the options experimental
            warnings.simplefilter("ignore", ExperimentalWarning)
            return optuna_class(**{**defaults, **options})
    except (TypeError, ValueError) as error:
        raise SpecError(f"[{section}] does not fit Optuna's {name}: {error}") from None
