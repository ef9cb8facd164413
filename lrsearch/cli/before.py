"""`lrsearch find-lr` and `lrsearch diagnose`: what people do before a search."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lrsearch.cli.options import Device, DeviceOption

if TYPE_CHECKING:
    from lrsearch.spec import StudySpec
    from lrsearch.tasks import Supervised

StudyFile = Annotated[Path, typer.Argument(metavar="STUDY.toml", help="The study file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def find_lr(
    study_file: StudyFile,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="A picture: FILE.html or FILE.png.")
    ] = None,
    as_json: AsJson = False,
    device: DeviceOption = Device.auto,
) -> None:
    """Find a first learning rate, and the domain of base_lr to search (a range test)."""
    from lrsearch.figures.files import check_suffix, write_figures
    from lrsearch.figures.finder import range_tests
    from lrsearch.finder import find_lr

    check_suffix(output)
    spec, task, place = _load(study_file, device)
    found = find_lr(task, seed=spec.study.seed, device=place)
    if output is not None:
        write_figures(output, "Learning-rate finder", [*found.notes], [range_tests(found)])
    if as_json:
        typer.echo(json.dumps(found.to_dict(), indent=2))
        return
    for name, pick in found.picks.items():
        typer.echo(f"{name:>12}  {pick.median:.2e}  ({pick.low:.2e} … {pick.high:.2e})")
    low, high = found.suggested
    for note in found.notes:
        typer.echo(f"note: {note}")
    typer.echo("\nfor the study file (or launch with --base-lr-from find-lr):\n\n[space]")
    typer.echo(f"base_lr = {{ low = {low:.2g}, high = {high:.2g}, log = true }}")


def diagnose(
    study_file: StudyFile,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="A page of figures: FILE.html.")
    ] = None,
    as_json: AsJson = False,
    steps: Annotated[int, typer.Option(min=20, help="Updates of each short run.")] = 500,
    device: DeviceOption = Device.auto,
) -> None:
    """Say whether training is unstable, and what cures it: warmup, clipping, a lower rate."""
    from lrsearch.figures.files import check_suffix, write_figures
    from lrsearch.figures.stability import diagnosis
    from lrsearch.stability import diagnose, patch, to_dict, verdict

    check_suffix(output)
    spec, task, place = _load(study_file, device)
    low, high, *_ = spec.search_space(task.base_lr).domain("base_lr").extremes()
    found = diagnose(
        task, low=low, high=high, steps=steps, seed=spec.study.seed, device=place,
        say=lambda line: typer.echo(f"… {line}", err=True),
    )  # fmt: skip
    if output is not None:
        write_figures(output, "Stability diagnosis", verdict(found), diagnosis(found))
    if as_json:
        typer.echo(json.dumps(to_dict(found), indent=2, ensure_ascii=False))
        return
    typer.echo("\n".join(verdict(found)))
    if changes := patch(found):
        typer.echo(f"\nfor the study file:\n\n{_toml(changes)}")


def _load(study_file: Path, device: Device) -> tuple[StudySpec, Supervised, str]:
    from lrsearch.devices import slots
    from lrsearch.prepare import load_supervised
    from lrsearch.spec import StudySpec

    spec = StudySpec.from_toml(study_file)
    place = slots(device.value, workers=1)[0].device
    return spec, load_supervised(spec), place


def _toml(changes: dict[str, dict[str, Any]]) -> str:
    lines = []
    for section, keys in changes.items():
        lines.append(f"[{section}]")
        lines += [f"{key} = {_value(value)}" for key, value in keys.items()]
    return "\n".join(lines)


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_value(item)}" for key, item in value.items()) + " }"
    return json.dumps(value)
