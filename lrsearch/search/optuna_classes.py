"""Optuna's classes by name, with options as a study file gives them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from lrsearch.errors import SpecError, nearest

Named = Mapping[str, tuple[str, dict[str, Any]]]
"""By our name: Optuna's, and the options that differ here from its defaults."""


def build(module: str, key: str, kind: str, named: Named, options: Mapping[str, Any]) -> Any:
    """Return an object of Optuna's class of that kind.

    Args:
        module: of Optuna: "samplers" or "pruners".
        key: where the kind stands in a study file.
        kind: one of `named`.
        named: the classes.
        options: of the class.

    Raises:
        SpecError: for an unknown kind, or options that Optuna's class refuses.
    """
    from optuna.exceptions import ExperimentalWarning

    section, _ = key.split(".")
    if kind not in named:
        raise SpecError(f"{key} is {kind!r}; {nearest(kind, named)}")
    name, defaults = named[kind]
    optuna_class = getattr(import_module(f"optuna.{module}"), name)
    try:
        with warnings.catch_warnings():  # Optuna calls some of the options experimental
            warnings.simplefilter("ignore", ExperimentalWarning)
            return optuna_class(**{**defaults, **options})
    except (TypeError, ValueError) as error:
        raise SpecError(f"[{section}] does not fit Optuna's {name}: {error}") from None
