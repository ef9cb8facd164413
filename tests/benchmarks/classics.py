"""The classic hand-picked runs: a textbook's six experiments, and beside the winner of a search.

python -m tests.benchmarks.classics textbook
    trains those of studies/lenet_classics.toml that studies/lenet_classics.json has not, once, on
    one thread; killed and started again, it goes on. Then writes that file, a figure and a table.
    With --draw only the latter two, from what is there.
python -m tests.benchmarks.classics multistep --seeds 1 2 3 [--as-run]
    the book's multistep on further seeds; or at the constant rate that the book's code gives it.
python -m tests.benchmarks.classics beside
    the confirmed winner of a search beside the classic runs with the same optimizer, after
        lrsearch launch studies/fashion_mnist.toml
        lrsearch confirm --study fashion-mnist-lenet --top 1
        lrsearch launch studies/classics_momentum.toml
"""

from __future__ import annotations

import argparse
import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from plotly.graph_objects import Figure
from plotly.subplots import make_subplots
from scipy import stats

from lrsearch import StudySpec, create_study
from lrsearch.evaluation import compare, find_confirmation, read_confirmation
from lrsearch.storage import open_storage
from lrsearch.study import open_study
from lrsearch.tasks import load_task, prepare_torch
from lrsearch.worker import work

STUDIES = Path(__file__).parents[2] / "studies"
NAMES = ("constant", "square root", "factor", "multistep", "cosine", "cosine, warmed up")
CURVES = ("train_loss", "train_accuracy", "val_accuracy")
PUBLISHED = {
    "constant": (0.147, 0.944, 0.888),
    "square root": (0.271, 0.902, 0.877),
    "multistep": (0.195, 0.926, 0.884),
    "cosine": (0.192, 0.930, 0.901),
}
"""Final train loss, train accuracy and test accuracy of the book's PyTorch runs, one run each, as
its authors' slides print them: d2l.smola.org/slides/pytorch/chapter_optimization/lr-scheduler.html
"""


AS_RUN = {"schedule": "constant", "base_lr": 0.125}
"""What the book's PyTorch code trains as multistep: it draws the schedule by stepping it through 30
epochs, past both milestones, and then trains with the same object."""


def train_textbook(
    url: str, name: str, *, seed: int = 0, schedule: dict[str, Any] | None = None
) -> dict[str, list[float]]:
    """Train the experiment of that name, a study of one trial; return its curves by epoch.

    Args:
        url: of the storage.
        name: of the experiment.
        seed: of the run.
        schedule: in place of the experiment's own.
    """
    prepare_torch("cpu")
    with (STUDIES / "lenet_classics.toml").open("rb") as file:
        data = tomllib.load(file)
    data["schedules"] = [schedule or data["schedules"][NAMES.index(name)]]
    run = f"{name}, as run" if schedule else name
    full = f"{data['study']['name']}: {run}" + (f", seed {seed}" if seed else "")
    data["study"] |= {"name": full, "trials": 1, "seed": seed}
    spec = StudySpec.from_dict(data)
    study = create_study(open_storage(url), spec, load_task(spec.task.run, spec.task_options()))
    work(url, study.name, "cpu")
    (trial,) = study.records(epochs=True)
    return {curve: [round(row.metrics[curve], 5) for row in trial.epochs] for curve in CURVES}


def table(curves: dict[str, dict[str, list[float]]]) -> str:
    """Return the last values beside the published ones, as Markdown."""
    lines = [
        "| schedule | train loss | train accuracy | test accuracy | highest, at epoch "
        "| published (train loss, train accuracy, test accuracy) |",
        "|---|---|---|---|---|---|",
    ]
    for name, of in curves.items():
        tested = of["val_accuracy"]
        book = ", ".join(f"{value:.3f}" for value in PUBLISHED.get(name, ())) or "not known"
        lines.append(
            f"| {name} | {of['train_loss'][-1]:.3f} "
            f"| {of['train_accuracy'][-1]:.3f} | {tested[-1]:.3f} "
            f"| {max(tested):.3f}, {int(np.argmax(tested)) + 1} | {book} |"
        )
    return "\n".join(lines)


def draw(curves: dict[str, dict[str, list[float]]]) -> Figure:
    """Draw train accuracy, test accuracy and train loss, a panel for each experiment."""
    cols = min(3, len(curves))
    rows = -(-len(curves) // cols)
    drawn: Any = make_subplots(
        rows=rows, cols=cols, subplot_titles=list(curves), shared_xaxes=True, shared_yaxes=True,
        horizontal_spacing=0.03, vertical_spacing=0.1,
    )  # fmt: skip
    looks = (("train_loss", "#7c7c7c", "dot"), ("train_accuracy", "#0080c0", "dash"))
    for index, of in enumerate(curves.values()):
        for curve, color, dash in (*looks, ("val_accuracy", "#d55e00", "solid")):
            drawn.add_scatter(
                x=list(range(1, len(of[curve]) + 1)), y=of[curve], mode="lines",
                name=curve.replace("_", " ").replace("val", "test"), showlegend=index == 0,
                line={"color": color, "dash": dash}, row=index // cols + 1, col=index % cols + 1,
            )  # fmt: skip
    drawn.update_xaxes(range=[0, 30])
    drawn.update_yaxes(range=[0, 1])
    drawn.update_xaxes(title_text="epoch", row=rows)
    drawn.update_layout(
        template="plotly_white", width=1100, height=60 + 280 * rows,
        margin={"l": 40, "r": 10, "t": 60, "b": 40},
        legend={"orientation": "h", "yref": "container", "y": 0.99, "yanchor": "top"},
    )  # fmt: skip
    return drawn


def textbook(url: str, only_draw: bool) -> None:
    """Train what is missing of the six experiments, keep each; draw all and print a table."""
    kept = STUDIES / "lenet_classics.json"
    curves = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    for name in NAMES if not only_draw else ():
        if name not in curves:
            curves[name] = train_textbook(url, name)
            keep(curves, kept)
    print(table(curves))
    draw(curves).write_image(STUDIES / "lenet_classics.png", scale=1.5)


def multistep(url: str, seeds: list[int], as_run: bool) -> None:
    """Print how multistep ends with each seed, as it is given or as the book's code runs it."""
    for seed in seeds:
        of = train_textbook(url, "multistep", seed=seed, schedule=AS_RUN if as_run else None)
        ends = ", ".join(f"{curve} {of[curve][-1]:.3f}" for curve in CURVES)
        print(f"{'as run' if as_run else 'as given'}, seed {seed}: {ends}", flush=True)


def keep(curves: dict[str, dict[str, list[float]]], path: Path) -> None:
    """Write curves by experiment, one line each."""
    text = json.dumps(curves, indent=1).replace(",\n   ", ",")
    path.write_text(text.replace("[\n    ", "[").replace("\n  ]", "]") + "\n", encoding="utf-8")


def beside(url: str, search: str, classics_name: str) -> None:
    """Print the winner of a search beside the classic runs.

    Their seeds may differ, since a confirmation takes those that the search has not used. So the
    differences are bounded by Welch's t-tests, corrected for the number of classic runs.
    """
    storage = open_storage(url, create=False)
    confirmed = find_confirmation(open_study(storage, search))
    classics = read_confirmation(open_study(storage, classics_name))
    assert confirmed is not None
    assert confirmed.winner is not None
    winner = np.array([*confirmed.winner.values.values()])
    runs = [(entry.name, np.array([*entry.values.values()])) for entry in classics.compared]
    print(f"| schedule | {classics.metric} ± 95 % | sd | behind the winner, pp ± 95 % |")
    print("|---|---|---|---|")
    print(f"| {confirmed.winner.name}, the winner | {_cells(winner)} | |")
    for name, values in sorted(runs, key=lambda run: -run[1].mean()):
        test = stats.ttest_ind(winner, values, equal_var=False)
        low, high = 100 * np.array(test.confidence_interval(1 - 0.05 / len(runs)))
        behind = f"{(high + low) / 2:.2f} ± {(high - low) / 2:.2f}"
        print(f"| {name} | {_cells(values)} | {behind} |")
    for entry in classics.entries:
        if entry.infeasible:
            print(f"| {entry.name} | {entry.infeasible} |||")


def _cells(values: NDArray[np.float64]) -> str:
    """Return a mean with its interval, and the standard deviation."""
    alone = compare(values[None])
    return f"{alone.mean[0]:.4f} ± {alone.high[0] - alone.mean[0]:.4f} | {alone.deviation[0]:.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("what", choices=("textbook", "multistep", "beside"))
    parser.add_argument("--storage", default="sqlite:///lrsearch.db")
    parser.add_argument("--draw", action="store_true", help="train nothing")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--as-run", action="store_true", help="as the book's code trains it")
    parser.add_argument("--search", default="fashion-mnist-lenet")
    parser.add_argument("--classics", default="classics-momentum")
    options = parser.parse_args()
    if options.what == "textbook":
        textbook(options.storage, options.draw)
    elif options.what == "multistep":
        multistep(options.storage, options.seeds, options.as_run)
    else:
        beside(options.storage, options.search, options.classics)


if __name__ == "__main__":
    main()
