"""Optuna's samplers by the names that a study file gives them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache, partial
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast

from lrsearch.errors import SpecError
from lrsearch.search.optuna_classes import Named, build

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

SAMPLERS: Named = {
    "tpe": ("TPESampler", {"multivariate": False}),
    "random": ("RandomSampler", {}),
    "gp": ("GPSampler", {"warn_independent_sampling": False}),
    "cmaes": ("CmaEsSampler", {"warn_independent_sampling": False}),
    "qmc": ("QMCSampler", {"warn_independent_sampling": False, "warn_asynchronous_seeding": False}),
}
"""By kind: Optuna's class and the options that differ here from its defaults."""

HUB = "optunahub:"
"""Before the package and the class of a sampler on OptunaHub."""

_KEEP_STATE = ("cmaes", "qmc")
"""Kinds that keep what they know beside the trials, and sample numbers alone."""

LEARN_FROM_FEW = ("tpe", "gp")
"""Kinds that see the best and the latest few hundred trials, and no others.

To look at ten thousand would take them longer than many a trial; OptunaHub's are shown all.
"""


def build_sampler(kind: str, options: dict[str, Any], seed: int) -> BaseSampler:
    """Return Optuna's sampler of that kind, or OptunaHub's `optunahub:PACKAGE:CLASS`.

    `gp` models the parameters that all trials share, and draws a family's own at random.

    Raises:
        SpecError: for an unknown kind, options that the class refuses, or a package that cannot be
            loaded.
    """
    if "seed" in options:
        raise SpecError("sampler.seed has no place there: set study.seed instead")
    options = {**options, "seed": seed}
    if kind.startswith(HUB):
        return _from_hub(kind, options)
    return cast("BaseSampler", build("samplers", "sampler.kind", kind, SAMPLERS, options))


def check_sampler(kind: str, choices: Iterable[str], *, waits: bool) -> None:
    """Refuse a sampler where it could only draw at random.

    Args:
        kind: of the sampler.
        choices: the searched parameters that are no numbers.
        waits: whether trials wait between their runs, and the sampler sees a copy of them.

    Raises:
        SpecError: naming what does not fit, and the fix.
    """
    if kind not in _KEEP_STATE:
        return
    if kind == "cmaes" and find_spec("cmaes") is None:
        raise SpecError("sampler.kind 'cmaes' needs a package of its own: pip install cmaes")
    if named := list(choices):
        raise SpecError(
            f"sampler.kind {kind!r} samples numbers alone, but the space chooses {', '.join(named)}"
            '; name one family and fix the rest (warmup = "none"), or take "tpe" or "gp"'
        )
    if waits:
        raise SpecError(
            f"sampler.kind {kind!r} keeps its state with trials that end before the next begins; "
            'set pruning.kind = "none" or "epochs", or take "tpe" or "gp"'
        )


def sampler_builder(kind: str, options: dict[str, Any], seed: int) -> Callable[[int], BaseSampler]:
    """Return what makes a trial's sampler of the trial's own seed.

    All trials of "qmc" take the study's instead: they are points of one sequence.
    """
    if kind == "qmc":
        return lambda _: build_sampler(kind, options, seed)
    return partial(build_sampler, kind, options)


def _from_hub(kind: str, options: dict[str, Any]) -> BaseSampler:
    package, _, name = kind.removeprefix(HUB).partition(":")
    if not package or not name:
        raise SpecError(f"sampler.kind is {kind!r}; write optunahub:PACKAGE:CLASS")
    sampler_class = getattr(_package(package), name, None)
    if sampler_class is None:
        raise SpecError(f"sampler.kind is {kind!r}, but {package} has no class {name!r}")
    try:
        return cast("BaseSampler", sampler_class(**options))
    except (TypeError, ValueError) as error:
        raise SpecError(f"[sampler] does not fit OptunaHub's {name}: {error}") from None


@cache
def _package(name: str) -> Any:
    try:
        return import_module("optunahub").load_module(name)
    except ModuleNotFoundError as error:
        raise SpecError(
            f"a sampler of OptunaHub needs {error.name}: pip install {error.name}"
        ) from None
    except Exception as error:  # whatever loading from a repository may raise
        raise SpecError(
            f"cannot load {name!r} from OptunaHub: {error}; it is fetched over the network, once"
        ) from None
