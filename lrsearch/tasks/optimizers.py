"""The optimizers by the names of a study file: torch's own, and schedule-free ones."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any, Literal, NamedTuple

import torch
from torch import nn

from lrsearch.errors import TaskError, nearest
from lrsearch.schedules import Float
from lrsearch.tasks.adam import ONE_MINUS, with_betas


class OptimizerKind(NamedTuple):
    """The class, the options that differ from its defaults, the usual domain of `base_lr`."""

    cls: type[torch.optim.Optimizer] | str
    options: dict[str, Any]
    base_lr: Float


OPTIMIZERS = {
    "sgd": OptimizerKind(torch.optim.SGD, {}, Float(1e-2, 2.0, log=True)),
    "momentum": OptimizerKind(torch.optim.SGD, {"momentum": 0.9}, Float(1e-3, 1.0, log=True)),
    "nesterov": OptimizerKind(
        torch.optim.SGD, {"momentum": 0.9, "nesterov": True}, Float(1e-3, 1.0, log=True)
    ),
    "rmsprop": OptimizerKind(torch.optim.RMSprop, {}, Float(1e-5, 1e-2, log=True)),
    "adam": OptimizerKind(torch.optim.Adam, {}, Float(1e-5, 3e-2, log=True)),
    "nadam": OptimizerKind(torch.optim.NAdam, {}, Float(1e-5, 3e-2, log=True)),
    "adamw": OptimizerKind(torch.optim.AdamW, {}, Float(1e-5, 3e-2, log=True)),
}
"""By name, with g the gradient, η the rate, and what torch does beside the textbook:

- `sgd`: w ← w − ηg.
- `momentum`: v ← μv + g, w ← w − ηv. The rate stands outside the velocity, so that changing it acts
  at once on all of v (Sutskever et al. 2013 write v ← μv − ηg). The first v is g.
- `nesterov`: w ← w − η(g + μv) with the v just updated.
- `rmsprop`: s ← αs + (1 − α)g², w ← w − ηg / (√s + ε). s starts at 0 with no correction, so the
  first updates are up to 1/√(1 − α) = 10 times as long; ε stands outside the root.
- `adam`: m and s with bias corrections, w ← w − ηm̂ / (√ŝ + ε) (Kingma & Ba 2015).
- `nadam`: Adam with a Nesterov step; its μₜ = β₁(1 − ½ · 0.96^(0.004 t)) rises over the run
  (Dozat 2016), so β₁ is only its limit.
- `adamw`: Adam with decoupled decay, w ← w − ηλw first (Loshchilov & Hutter 2019), λ = 0.01.
"""


SCHEDULE_FREE = {
    "schedule_free_sgd": OptimizerKind("SGDScheduleFree", {}, Float(1e-2, 10.0, log=True)),
    "schedule_free_adamw": OptimizerKind("AdamWScheduleFree", {}, Float(1e-4, 1e-1, log=True)),
}
"""Those of the package `schedulefree` (Defazio et al. 2024, "The road less scheduled"), by name.

They average the weights in place of a decaying rate: train with `constant`, and see whether a
schedule is needed at all. What is evaluated and saved is the average. Their usual rates are several
times those of the optimizer they stand for. Trials with them do not train in packs.
"""


def optimizer_kind(spec: str | Mapping[str, Any]) -> tuple[OptimizerKind, dict[str, Any]]:
    """Return the kind that `"adam"` or `{name = "adam", …}` names, and its options.

    Of those with `betas`, `one_minus_beta1` and `one_minus_beta2` may stand for them.

    Raises:
        TaskError: for an unknown name or option.
    """
    options = {"name": spec} if isinstance(spec, str) else dict(spec)
    name = options.pop("name", None)
    known_kinds = OPTIMIZERS | SCHEDULE_FREE
    if name not in list(known_kinds):  # a list: what stands in a file need not be hashable
        raise TaskError(f"task.optimizer has the name {name!r}; {nearest(str(name), known_kinds)}")
    kind = known_kinds[name]
    known = set(inspect.signature(_class(kind)).parameters) - {"params", "lr"}
    known |= set(ONE_MINUS) if "betas" in known else set()
    for key in options:
        if key not in known:
            raise TaskError(f"task.optimizer {name!r} has no option {key!r}; {nearest(key, known)}")
    return kind, {**kind.options, **with_betas(options)}


def _class(kind: OptimizerKind) -> type[torch.optim.Optimizer]:
    """Return the class; schedule-free ones are imported when they are asked for."""
    if not isinstance(kind.cls, str):
        return kind.cls
    try:
        package = import_module("schedulefree")
    except ModuleNotFoundError:
        raise TaskError(
            "schedule-free optimizers need the package schedulefree: "
            "pip install 'lrsearch[schedulefree]'"
        ) from None
    optimizer_class: type[torch.optim.Optimizer] = getattr(package, kind.cls)
    return optimizer_class


def set_mode(optimizer: torch.optim.Optimizer, mode: Literal["train", "eval"]) -> None:
    """Make the weights those to train or to evaluate, of an optimizer that averages them."""
    if switch := getattr(optimizer, mode, None):
        switch()


def build_optimizer(
    spec: str | Mapping[str, Any], parameters: Iterable[nn.Parameter], lr: float
) -> torch.optim.Optimizer:
    """Return torch's optimizer over `parameters` at the rate `lr`.

    Raises:
        TaskError: for an unknown name or option, or a value that torch refuses.
    """
    kind, options = optimizer_kind(spec)
    try:
        return _class(kind)(parameters, lr=lr, **options)  # type: ignore[call-arg]
    except (TypeError, ValueError, RuntimeError) as error:
        raise TaskError(f"task.optimizer {spec!r}: torch says: {error}") from None
