"""Optuna's samplers by the names that a study file gives them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from lrsearch.errors import SpecError
from lrsearch.search.optuna_classes import Named, build

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

SAMPLERS: Named = {
    "tpe": ("TPESampler", {"multivariate": False}),
    "random": ("RandomSampler", {}),
}
"""By kind: Optuna's class and the options that differ here from its defaults."""


def build_sampler(kind: str, options: dict[str, Any], seed: int) -> BaseSampler:
    """Return Optuna's sampler of that kind.

    Raises:
        SpecError: for an unknown kind, or options that Optuna's class refuses.
    """
    if "seed" in options:
        raise SpecError("sampler.seed has no place there: set study.seed instead")
    sampler = build("samplers", "sampler.kind", kind, SAMPLERS, {**options, "seed": seed})
    return cast("BaseSampler", sampler)
