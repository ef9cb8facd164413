"""What pydantic finds wrong in a study file, as messages for people."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from lrsearch.errors import nearest
from lrsearch.search import PRUNERS
from lrsearch.study.sections import PRUNING


def format_errors(error: ValidationError, spec: type[BaseModel]) -> str:
    """Turn pydantic's findings into one line each: key, value, rule, nearest known key."""
    lines = []
    for finding in error.errors():
        path = ".".join(str(part) for part in finding["loc"])
        if finding["loc"][:1] == ("pruning",):
            path = ".".join(["pruning", *map(str, finding["loc"][2:])])  # without its kind
        if finding["type"] == "extra_forbidden":
            section = _section(finding["loc"][:-1], spec)
            lines.append(f"unknown key {path!r}; {nearest(str(finding['loc'][-1]), section)}")
        elif finding["type"] == "union_tag_invalid":
            lines.append(_no_kind(finding["input"]["kind"]))
        elif finding["type"] == "union_tag_not_found":
            lines.append(f"{path}.kind is missing; add one of {', '.join(PRUNING)}")
        elif finding["type"] == "missing":
            lines.append(f"{path} is missing; add it")
        else:
            rule = _lower(finding["msg"]).removeprefix("value error, ")
            lines.append(f"{path} = {finding['input']!r}: {rule}")
    return "; ".join(lines)


def _section(path: tuple[int | str, ...], spec: type[BaseModel]) -> Iterable[str]:
    """Return the keys of the section at that place; pydantic's path has the pruning's kind too."""
    if path[:1] == ("pruning",):
        return PRUNING[str(path[1])].model_fields
    section: Any = spec
    for key in path:
        annotation = section.model_fields[str(key)].annotation
        section = next(iter(get_args(annotation)), annotation)
    return list(section.model_fields)


def _no_kind(kind: object) -> str:
    if kind in PRUNERS:
        return f'pruning.kind is {kind!r}; write kind = "epochs" and pruner = "{kind}"'
    return f"pruning.kind is {kind!r}; {nearest(str(kind), [*PRUNING, *PRUNERS])}"


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
