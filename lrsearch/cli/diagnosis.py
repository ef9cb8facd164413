"""`lrsearch find-lr` and `lrsearch diagnose`: what people do before a search."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lrsearch.cli.options import Device, DeviceOption
from lrsearch.cli.output import PAGE, ForceOption, check_output, writing

if TYPE_CHECKING:
    from lrsearch.study import StudySpec

StudyFile = Annotated[Path, typer.Argument(metavar="STUDY.toml", help="The study file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def find_lr(
    study_file: StudyFile,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="A picture: FILE.html or FILE.png.")
    ] = None,
    force: ForceOption = False,
    as_json: AsJson = False,
    device: DeviceOption = Device.auto,
) -> None:
    """Find a first learning rate, and the domain of base_lr to search (a range test).

    One coarse test, then three of networks, each of another seed, that have lost half of their
    loss at about the rate it points to: 430 to 850 updates in all.

    A task of one's own, which says only how an epoch ended, trains some hundred epochs.
    """
    from lrsearch import diagnosis
    from lrsearch.reporting import range_tests, write_figures

    check_output(output, PAGE, force=force)
    spec, place = _load(study_file, device)
    task = diagnosis.load_unclipped(spec)
    finding = diagnosis.find_lr(task, seed=spec.study.seed, device=place)
    if output is not None:
        with writing(output, err=as_json):
            write_figures(output, "Learning-rate finder", finding.notes, [range_tests(finding)])
    if as_json:
        typer.echo(json.dumps(finding.to_dict(), indent=2))
        return
    for name, pick in finding.picks.items():
        typer.echo(f"{name:>12}  {pick.median:.2e}  ({pick.low:.2e} … {pick.high:.2e})")
    low, high = finding.suggested
    run = task.epochs * task.steps_per_epoch
    typer.echo(
        f"took {finding.updates} updates: {finding.updates / run:.1f} full runs, of which the "
        f"search may train {spec.study.trials}"
    )
    for note in finding.notes:
        typer.echo(f"note: {note}")
    typer.echo("\nfor the study file (or launch with --base-lr-from find-lr):\n\n[space]")
    typer.echo(f"base_lr = {{ low = {low:.2g}, high = {high:.2g}, log = true }}")


def diagnose(
    study_file: StudyFile,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="A page of figures: FILE.html.")
    ] = None,
    force: ForceOption = False,
    as_json: AsJson = False,
    steps: Annotated[
        int | None,
        typer.Option(
            min=20,
            help="Updates of each short run. [default: 500, or the full run's if it has fewer]",
        ),
    ] = None,
    device: DeviceOption = Device.auto,
) -> None:
    """Say whether training is unstable, and what cures it: warmup, clipping, a lower rate.

    The tuning playbook's procedure: 30 to 60 short runs, and what helps trained at full length. A
    cure is named only if it holds on three seeds.
    """
    import tomli_w

    from lrsearch import diagnosis
    from lrsearch.reporting import diagnosis_figures, write_figures

    check_output(output, [".html"], force=force)
    spec, place = _load(study_file, device)
    task = diagnosis.load_supervised(spec)
    low, high, *_ = spec.search_space(task.base_lr).domain("base_lr").extremes()
    result = diagnosis.diagnose(
        task, low=low, high=high, steps=steps, seed=spec.study.seed, device=place,
        say=lambda line: typer.echo(f"… {line}", err=True),
    )  # fmt: skip
    if output is not None:
        lines, figures = diagnosis.verdict(result), diagnosis_figures(result)
        with writing(output, err=as_json):
            write_figures(output, "Stability diagnosis", lines, figures)
    if as_json:
        typer.echo(json.dumps(diagnosis.diagnosis_dict(result), indent=2, ensure_ascii=False))
        return
    typer.echo("\n".join(diagnosis.verdict(result)))
    if changes := diagnosis.patch(result):
        typer.echo(f"\nfor the study file:\n\n{tomli_w.dumps(changes)}")


def _load(study_file: Path, device: Device) -> tuple[StudySpec, str]:
    from lrsearch.study import StudySpec
    from lrsearch.tasks import slots

    spec = StudySpec.from_toml(study_file)
    return spec, slots(device.value, workers=1)[0].device
