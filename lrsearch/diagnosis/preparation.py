"""Before a launch: numbers in place of what a study leaves to the finder or to a diagnosis."""

from __future__ import annotations

import re
from typing import Any

from lrsearch.diagnosis.finder import find_lr
from lrsearch.diagnosis.stability import clip_norm_at
from lrsearch.diagnosis.verdict import rounded
from lrsearch.study import StudySpec
from lrsearch.tasks import Supervised, Task, check_protocol, load_task, require_supervised

_PERCENTILE = re.compile(r"p(\d{1,2}(?:\.\d+)?)")
"""As `task.clip_norm`, such as "p90": that percentile of the gradient norms at the best rate."""


def prepare(spec: StudySpec, device: str, *, base_lr_from_finder: bool) -> tuple[StudySpec, Task]:
    """Return the spec with every number in its place, and its task.

    The same spec, seed and device give the same numbers, so launching again finds the same study.

    Args:
        spec: may leave `task.clip_norm` to a percentile such as "p90".
        device: where to measure.
        base_lr_from_finder: search `base_lr` in the domain that the finder suggests.

    Raises:
        TaskError: if the task cannot be had, or cannot be trained update by update but should be.
    """
    if base_lr_from_finder:
        low, high = find_lr(load_unclipped(spec), seed=spec.study.seed, device=device).suggested
        domain = {"low": rounded(low), "high": rounded(high), "log": True}
        spec = _changed(spec, "space", base_lr=domain)
    if (percentile := _percentile(spec.task.options.get("clip_norm"))) is not None:
        task = load_supervised(spec)
        low, high, *_ = spec.search_space(task.base_lr).domain("base_lr").extremes()
        norm = clip_norm_at(
            task, percentile, low=low, high=high, seed=spec.study.seed, device=device
        )
        spec = _changed(spec, "task", clip_norm=rounded(norm))
    return spec, load_task(spec.task.run, spec.task_options())


def load_supervised(spec: StudySpec) -> Supervised:
    """Return the study's task, unclipped where that is left open, to train it update by update.

    Raises:
        TaskError: if it is no `Supervised` task.
    """
    return require_supervised(load_unclipped(spec))


def load_unclipped(spec: StudySpec) -> Task:
    """Return the study's task, unclipped where that is left to a percentile.

    torch gets one CPU thread, as in every worker: the same numbers, and faster beside other work.

    Raises:
        TaskError: if it cannot be had, or keeps none of a task's rules.
    """
    import torch

    torch.set_num_threads(1)
    options = spec.task_options()
    if _percentile(options.get("clip_norm")) is not None:
        del options["clip_norm"]
    task = load_task(spec.task.run, options)
    check_protocol(task, repr(spec.task.run))
    return task


def _percentile(clip_norm: Any) -> float | None:
    """Return the percentile that "p90" and the like name; `None` for anything else."""
    named = _PERCENTILE.fullmatch(clip_norm) if isinstance(clip_norm, str) else None
    return float(named[1]) if named else None


def _changed(spec: StudySpec, section: str, **values: Any) -> StudySpec:
    data = spec.to_dict()
    return StudySpec.from_dict({**data, section: {**data[section], **values}})
