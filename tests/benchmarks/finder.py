"""Does the finder's domain hold the best rate? How far do the rules stray on a known curve?

    python -m tests.benchmarks.finder sweep [--models lenet small_conv]
        [--optimizers sgd momentum adam] [--images 15000 | --full] [--epochs 2]
        [--seeds 3] [--best RATE] [--finder-seeds 0 100]
    python -m tests.benchmarks.finder synthetic [--draws 200] [--noise 0.1]

`sweep` trains on FashionMNIST at twelve constant rates, each with every seed, and compares the best
with what `find_lr` suggests, with two seeds; `--finder-seeds` names others. With `--best` that rate
is taken for the best and nothing is swept. `synthetic` draws noisy copies of a loss
curve whose steepest point is known, and compares the rules with those of other libraries, restated
from their descriptions.
"""

import argparse
from collections.abc import Sequence
from itertools import product

import numpy as np
import torch

from lrsearch.diagnosis import RULES, find_lr, smooth
from lrsearch.schedules import Constant, Schedule
from lrsearch.tasks import Supervised, fashion_mnist

MODELS = {"lenet": "lenet", "small_conv": "tests.benchmarks.networks:small_conv"}
TRIALS = 30
"""Of a search, whose full runs are what the finder's cost is compared with."""


def best_rate(task: Supervised, seeds: int) -> float:
    """Return which of twelve constant rates has the highest mean validation accuracy; print all."""
    domain = task.base_lr
    assert domain is not None
    rates = np.geomspace(domain.low, domain.high, 12)
    means = []
    for rate in rates:
        schedule = Schedule(Constant(), float(rate))
        values = []
        for seed in range(seeds):
            *_, last = task.run(schedule, epochs=task.epochs, seed=seed, device="cpu")
            values.append(0.0 if last.diverged else last.metrics["val_accuracy"])
        means.append(float(np.mean(values)))
    print("  " + "  ".join(f"{r:.1e}: {m:.3f}" for r, m in zip(rates, means, strict=True)))
    return float(rates[int(np.argmax(means))])


def sweep(task: Supervised, seeds: int, best: float | None, finder_seeds: Sequence[int]) -> None:
    """Print where the best of twelve constant rates lies in what the finder suggests."""
    best = best or best_rate(task, seeds)
    ends = []
    for seed in finder_seeds:
        finding = find_lr(task, seed=seed)
        low, high = finding.suggested
        ends.append(np.log10([low, high]))
        inside = "inside" if low <= best <= high else "OUTSIDE"
        cost = finding.updates / (TRIALS * task.epochs * task.steps_per_epoch)
        print(
            f"  best rate {best:.2e} lies {inside} {low:.2e} … {high:.2e} "
            f"({np.log10(high / low):.2f} decades); {finding.updates} updates, {cost:.1%} of "
            f"{TRIALS} full runs",
            flush=True,
        )
    differ = 10 ** np.ptp(ends, axis=0).max() - 1
    print(f"  their ends differ by at most {differ:.0%}", flush=True)


CENTER = -2.07
"""log10 of the rate at which the synthetic curve is steepest."""


def synthetic_curve(rng: np.random.Generator, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """A loss that falls along a sigmoid around CENTER and blows up; it ends at 4 times its best."""
    log_lrs = np.arange(-7, 1, 0.02)
    falling = 2.3 - 1.6 / (1 + np.exp(-(log_lrs - CENTER) / 0.22))
    clean = falling + 0.05 * np.exp((log_lrs + 0.6) / 0.16)
    end = int(np.argmax(clean > 4 * np.minimum.accumulate(clean)))
    return log_lrs[:end], (clean + noise * rng.standard_normal(len(clean)))[:end]


def trailing(losses: np.ndarray, memory: float) -> np.ndarray:
    """A debiased moving average of the past, as fastai and torch-lr-finder smooth."""
    smoothed, out = 0.0, []
    for step, loss in enumerate(losses, 1):
        smoothed = memory * smoothed + (1 - memory) * loss
        out.append(smoothed / (1 - memory**step))
    return np.array(out)


def fastai_steep(x: np.ndarray, y: np.ndarray) -> float:
    smoothed = trailing(y, 0.98)
    slopes = np.diff(smoothed) / np.diff(x)
    return float(x[np.argmin(slopes)])


def fastai_valley(x: np.ndarray, y: np.ndarray) -> float:
    """The middle of the longest decreasing subsequence."""
    smoothed = trailing(y, 0.98)
    length, before = np.ones(len(y), int), np.arange(len(y))
    for i in range(1, len(y)):
        lower = np.flatnonzero(smoothed[:i] > smoothed[i])
        if len(lower) and length[lower].max() + 1 > length[i]:
            before[i] = lower[np.argmax(length[lower])]
            length[i] = length[before[i]] + 1
    end = start = int(np.argmax(length))
    while before[start] != start:
        start = before[start]
    return float(x[start + (end - start) // 2])


def fastai_minimum(x: np.ndarray, y: np.ndarray) -> float:
    return float(x[np.argmin(trailing(y, 0.98))]) - 1


def torch_lr_finder_steepest(x: np.ndarray, y: np.ndarray) -> float:
    smoothed = [y[0]]
    for loss in y[1:]:
        smoothed.append(0.05 * loss + 0.95 * smoothed[-1])
    return float(x[np.argmin(np.gradient(np.array(smoothed)))])


def lightning_steepest(x: np.ndarray, y: np.ndarray) -> float:
    """The steepest slope on a linear axis of the rate, the first and last points left out."""
    smoothed = trailing(y, 0.98)[10:-1]
    rates = 10 ** x[10:-1]
    return float(x[10:-1][np.argmin(np.gradient(smoothed, rates))])


OTHERS = {
    "fastai steep": fastai_steep,
    "fastai valley": fastai_valley,
    "fastai minimum/10": fastai_minimum,
    "torch-lr-finder": torch_lr_finder_steepest,
    "Lightning": lightning_steepest,
}


def synthetic(draws: int, noise: float) -> None:
    """Print each rule's bias and spread in log10 of the rate."""
    rng = np.random.default_rng(0)
    picks: dict[str, list[float]] = {}
    for _ in range(draws):
        x, y = synthetic_curve(rng, noise)
        curve = smooth(10**x, y)
        for name, rule in RULES.items():
            picks.setdefault(f"lrsearch {name}", []).append(rule(curve))
        for name, other in OTHERS.items():
            picks.setdefault(name, []).append(other(x, y))
    print(f"steepest at log10 lr = {CENTER}, noise {noise}, {draws} draws")
    print(f"{'rule':>20} {'mean':>7} {'bias':>7} {'spread':>7}")
    for name, values in picks.items():
        mean = np.mean(values)
        print(f"{name:>20} {mean:>7.2f} {mean - CENTER:>+7.2f} {np.std(values):>7.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    sweeping = commands.add_parser("sweep")
    sweeping.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    sweeping.add_argument("--optimizers", nargs="+", default=["sgd", "momentum", "adam"])
    sweeping.add_argument("--images", type=int, default=15_000)
    sweeping.add_argument("--full", action="store_true", help="all images")
    sweeping.add_argument("--epochs", type=int, default=2)
    sweeping.add_argument("--seeds", type=int, default=3)
    sweeping.add_argument("--best", type=float, help="sweep nothing")
    sweeping.add_argument("--finder-seeds", type=int, nargs="+", default=[0, 100])
    drawing = commands.add_parser("synthetic")
    drawing.add_argument("--draws", type=int, default=200)
    drawing.add_argument("--noise", type=float, default=0.1)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.command == "synthetic":
        synthetic(arguments.draws, arguments.noise)
        return
    images, epochs = None if arguments.full else arguments.images, arguments.epochs
    for model, optimizer in product(arguments.models, arguments.optimizers):
        print(f"\n{model}, {optimizer}, {images or 'all'} images: {epochs} epochs")
        task = fashion_mnist.task(MODELS[model], optimizer, epochs=epochs, subset=images)
        sweep(task, arguments.seeds, arguments.best, arguments.finder_seeds)


if __name__ == "__main__":
    main()
