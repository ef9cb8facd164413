"""The optimizer that a schedule was found with, as the frameworks write it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from lrsearch.export.exported import Exported


class _Kind(NamedTuple):
    """An optimizer's name in torch, Keras and optax, and all of its options that count."""

    torch: str
    keras: str
    optax: str
    options: Mapping[str, Any]


_ADAM = {"betas": (0.9, 0.999), "eps": 1e-8}
KINDS = {
    "sgd": _Kind("SGD", "SGD", "sgd", {}),
    "momentum": _Kind("SGD", "SGD", "sgd", {"momentum": 0.9}),
    "nesterov": _Kind("SGD", "SGD", "sgd", {"momentum": 0.9, "nesterov": True}),
    "rmsprop": _Kind("RMSprop", "RMSprop", "rmsprop", {"alpha": 0.99, "eps": 1e-8}),
    "adam": _Kind("Adam", "Adam", "adam", _ADAM),
    "nadam": _Kind("NAdam", "Nadam", "nadam", {**_ADAM, "momentum_decay": 0.004}),
    "adamw": _Kind("AdamW", "AdamW", "adamw", {**_ADAM, "weight_decay": 0.01}),
}
"""By the name in a study file; options are torch's defaults, since others' defaults differ."""
_KERAS = {"momentum": "momentum", "nesterov": "nesterov", "alpha": "rho", "eps": "epsilon"}
_OPTAX = {"momentum": "momentum", "nesterov": "nesterov", "alpha": "decay", "eps": "eps"}


def optimizer_of(best: Exported) -> tuple[str, dict[str, Any]] | None:
    """Return name and options of the optimizer; `None` where it is unknown or the user's own."""
    given = best.settings.get("optimizer")
    options = {"name": given} if isinstance(given, str) else dict(given or {})
    name = options.pop("name", None)
    return (name, {**KINDS[name].options, **options}) if name in KINDS else None


def caution(best: Exported, trains_with: str | None = None) -> list[str]:
    """Return what has to be said first: a rate is right for the optimizer it was found with.

    Args:
        best: what is exported.
        trains_with: the optimizer that the framework takes by itself, if it does.

    Example:
        >>> from lrsearch.schedules import Clock, Linear, Schedule
        >>> clock = Clock(total_steps=100, parts=10)
        >>> best = Exported(Schedule(Linear(), 1.0), "first", 3, 0.9, clock, losses=())
        >>> caution(best)
        ['Its optimizer is not known: a rate is right only for the optimizer it was found with.']
    """
    found = optimizer_of(best)
    if found is None:
        return [
            "Its optimizer is not known: a rate is right only for the optimizer it was found with."
        ]
    if trains_with and found[0] != trains_with:
        return [
            f"CAUTION: found with {found[0]}, not with {trains_with}, which this framework takes",
            "by itself. The rate is wrong for another optimizer: give it this one, as below.",
        ]
    return []


def cautions(best: Exported, format: str) -> list[str]:
    """Return what has to be said first of an export in a format, a sentence each."""
    if format in ("json", "csv"):
        return []
    first = caution(best, "adamw" if format == "transformers" else None)
    return [" ".join(first)] if first else []


def for_torch(best: Exported) -> str:
    """Return the constructor of torch's optimizer, over `model.parameters()`."""
    name, options = optimizer_of(best) or ("momentum", KINDS["momentum"].options)
    return _call(f"torch.optim.{KINDS[name].torch}", ["model.parameters()", "lr=BASE_LR"], options)


def for_keras(best: Exported, momentum: float | None = None) -> tuple[str, list[str]]:
    """Return the constructor of Keras's optimizer, and what of it is not quite torch's.

    `momentum` is the first one of a schedule that moves it.
    """
    name, options = optimizer_of(best) or ("momentum", KINDS["momentum"].options)
    kept, first, decay = _shared(options, _KERAS, ("beta_1", "beta_2"), momentum)
    notes = []
    if decay and name == "adamw":
        kept["weight_decay"] = decay
    elif decay:
        notes.append(f"its weight_decay {decay:g} is torch's, an L2 penalty: regularize the layers")
    if name in ("rmsprop", "nadam"):
        notes.append(f"Keras's {KINDS[name].keras} is not torch's to the last digit")
    call = _call(f"keras.optimizers.{KINDS[name].keras}", ["learning_rate"], {**kept, **first})
    return call, notes


def for_optax(best: Exported, *, moves: bool = False) -> tuple[str, list[str]]:
    """Return the constructor of optax's optimizer, and what of it is not quite torch's.

    With `moves` the schedule's own `momentum` is injected.
    """
    name, options = optimizer_of(best) or ("momentum", KINDS["momentum"].options)
    kept, first, decay = _shared(
        options, _OPTAX, ("b1", "b2"), _Name("momentum") if moves else None
    )
    made = f"optax.{KINDS[name].optax}"
    made = f"optax.inject_hyperparams({made})" if moves else made
    if decay and name == "adamw":
        kept["weight_decay"] = decay
    call = _call(made, ["learning_rate"], {**kept, **first})
    if decay and name != "adamw":
        call = f"optax.chain(optax.add_decayed_weights({decay!r}), {call})"
    return call, ["optax's nadam is not torch's to the last digit"] if name == "nadam" else []


class _Name(str):
    """A name in code."""

    def __repr__(self) -> str:
        return str(self)


def _shared(
    options: Mapping[str, Any],
    names: Mapping[str, str],
    betas: tuple[str, str],
    momentum: Any,
) -> tuple[dict[str, Any], dict[str, Any], float]:
    """Return options under another framework's names, what the schedule moves, and the decay."""
    kept = {names[key]: value for key, value in options.items() if key in names and value}
    first: dict[str, Any] = {}
    if "betas" in options:
        kept |= dict(zip(betas, options["betas"], strict=True))
        first = {betas[0]: momentum} if momentum is not None else {}
    elif momentum is not None:
        first = {"momentum": momentum}
    return kept, first, float(options.get("weight_decay") or 0.0)


def _call(made: str, arguments: list[str], options: Mapping[str, Any]) -> str:
    named = [f"{key}={_plain(value)!r}" for key, value in options.items()]
    return f"{made}({', '.join([*arguments, *named])})"


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
