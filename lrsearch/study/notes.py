"""What a study chooses by itself, for people to read before it begins."""

from __future__ import annotations

from lrsearch.study.sections import usual_direction
from lrsearch.study.spec import StudySpec
from lrsearch.tasks import WORTH_FROM, Task, clock_of


def study_notes(spec: StudySpec, task: Task) -> list[str]:
    """Return what a study chooses by itself for a task, and why, a sentence each."""
    notes = []
    metric, direction = spec.study.metric, spec.study.direction
    if direction != (usual := usual_direction(metric)):
        notes.append(f"{metric} is {direction}d, as study.direction says; most {usual} it")
    elif direction == "minimize" and "direction" not in spec.study.model_fields_set:
        notes.append(f"{metric} is minimized, by its name; if more is better: study.direction")
    clock = clock_of(task)
    horizons = spec.horizons(task.epochs, task.steps_per_epoch)
    if spec.climbs and getattr(spec.pruning, "horizons", None) is None:
        if len(horizons) > 1:
            notes.append(
                f"trials train {horizons[0]} of {task.epochs} epochs first "
                f"({horizons[0] * task.steps_per_epoch} updates), and the best go on"
                + (f"; {horizons[1]}, if that says too little" if len(horizons) > 2 else "")
                + "; other lengths: pruning.horizons"
            )
        else:
            notes.append("the run is too short for a shorter one first: trials train in full")
    space = spec.search_space(getattr(task, "base_lr", None))
    if clock.lr_every == "epoch" and space.warmup_steps(clock.length) is None:
        notes.append(
            f"the rate changes once an epoch, and {clock.length} epochs are too few to search "
            "warmups of 10 and more; give space.warmup_steps in epochs to search them"
        )
    for index, schedule in enumerate(spec.given_schedules(), 1):
        warmup = schedule.warmup
        if warmup and not warmup.from_zero and warmup.fraction * clock.length <= 1:
            notes.append(
                f"[[schedules]] number {index} warms up for one {clock.lr_every} or less, and so "
                "is at its peak from the start; give it a larger warmup.fraction, or from_zero"
            )
    if "task.batch_size" in spec.searched_options:
        notes.append(
            "task.batch_size is searched with one domain of base_lr for all sizes, though the best "
            "rate grows with the size; a fair comparison searches each size by itself"
        )
    for option, least in WORTH_FROM.items():
        name, trials = f"task.optimizer.{option}", spec.study.trials
        if name in spec.searched_options and trials < least:
            notes.append(
                f"{name} is searched with {trials} trials; the tuning playbook does so from "
                f"{least} on, and has the rate searched first, then 1 - β₁, ε, 1 - β₂"
            )
    return notes
