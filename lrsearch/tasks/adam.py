"""Adam's own options: how they are searched, and when that is worth it. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lrsearch.errors import TaskError
from lrsearch.schedules import Float

BETAS = (0.9, 0.999)
"""Adam's β₁ and β₂ unless they are given, in torch and in schedulefree."""
ONE_MINUS = {"one_minus_beta1": 0, "one_minus_beta2": 1}
"""What stands for one of `betas`: 1 − β₁ and 1 − β₂, to be searched on a logarithm, where from 0.9
to 0.99 is as far as from 0.99 to 0.999."""
SEARCHED = {
    "one_minus_beta1": Float(0.01, 0.5, log=True),
    "eps": Float(1e-10, 1e-3, log=True),
    "one_minus_beta2": Float(1e-4, 0.1, log=True),
}
"""The usual domains, in the order in which they are worth a search."""
WORTH_FROM = {"one_minus_beta1": 10, "eps": 25, "one_minus_beta2": 50}
"""Of how many trials on: with fewer than 10 the rate alone, from 10 on β₁ too, from 25 on ε, and β₂
with substantially more (Godbole et al. 2023, "Deep learning tuning playbook", on Adam)."""


def with_betas(optimizer: Mapping[str, Any]) -> dict[str, Any]:
    """Return an optimizer's name and options with `betas` in place of what stands for them.

    Raises:
        TaskError: if both are given, or a value is not in (0, 1].

    Example:
        >>> with_betas({"name": "adam", "one_minus_beta1": 0.25})
        {'name': 'adam', 'betas': [0.75, 0.999]}
    """
    options = dict(optimizer)
    given = [key for key in ONE_MINUS if key in options]
    if given and "betas" in options:
        raise TaskError(
            f"task.optimizer has both betas and {given[0]}; leave one of them out: {options}"
        )
    betas = list(BETAS)
    for key in given:
        value = options.pop(key)
        if type(value) not in (int, float) or not 0 < value <= 1:
            raise TaskError(f"task.optimizer.{key} must be in (0, 1], but got {value!r}")
        betas[ONE_MINUS[key]] = 1 - value
    return {**options, "betas": betas} if given else options
