"""The versions of what numbers depend on."""

from __future__ import annotations

import platform

_PACKAGES = ("lrsearch", "torch", "torchvision", "optuna", "numpy")


def installed_versions() -> dict[str, str]:
    """Return the versions of the packages that are installed here, and Python's, by name.

    Example:
        >>> "optuna" in installed_versions()
        True
    """
    from importlib.metadata import PackageNotFoundError, version  # not for who only looks

    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {**versions, "Python": platform.python_version()}
