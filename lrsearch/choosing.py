"""How trials are chosen and stopped: Optuna's samplers and pruners by the names of a study file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from lrsearch.errors import SpecError, nearest

if TYPE_CHECKING:
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler

SAMPLERS: dict[str, tuple[str, dict[str, Any]]] = {
    "tpe": ("TPESampler", {}),
    "random": ("RandomSampler", {}),
}
"""By kind: Optuna's class and the options that differ here from its defaults."""

PRUNERS: dict[str, tuple[str, dict[str, Any]]] = {
    "none": ("NopPruner", {}),
    "median": ("MedianPruner", {}),
    "percentile": ("PercentilePruner", {"percentile": 75.0, "n_warmup_steps": 1}),
    "successive_halving": ("SuccessiveHalvingPruner", {}),
    "hyperband": ("HyperbandPruner", {}),
}
"""The same for pruners; steps are epochs.

`percentile` keeps the best 75 % at each epoch: a schedule still at a high rate looks worse than it
will be, so only the clearly weak are stopped.
"""


def build_sampler(kind: str, options: dict[str, Any], seed: int) -> BaseSampler:
    """Return Optuna's sampler of that kind.

    Raises:
        SpecError: for an unknown kind, or options that Optuna's class refuses.
    """
    if "seed" in options:
        raise SpecError("sampler.seed has no place there: set study.seed instead")
    return cast("BaseSampler", _build("sampler", kind, SAMPLERS, {**options, "seed": seed}))


def build_pruner(kind: str, options: dict[str, Any]) -> BasePruner:
    """Return Optuna's pruner of that kind.

    Raises:
        SpecError: for an unknown kind, or options that Optuna's class refuses.
    """
    return cast("BasePruner", _build("pruning", kind, PRUNERS, options))


def _build(
    section: str,
    kind: str,
    kinds: dict[str, tuple[str, dict[str, Any]]],
    options: dict[str, Any],
) -> Any:
    from optuna import pruners, samplers

    if kind not in kinds:
        raise SpecError(f"{section}.kind is {kind!r}; {nearest(kind, kinds)}")
    name, defaults = kinds[kind]
    optuna_class = getattr(samplers if section == "sampler" else pruners, name)
    try:
        return optuna_class(**{**defaults, **options})
    except (TypeError, ValueError) as error:
        raise SpecError(f"[{section}] does not fit Optuna's {name}: {error}") from None
