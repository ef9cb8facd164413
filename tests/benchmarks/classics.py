"""The confirmed winner of a search beside the classic hand-picked runs, on the same seeds.

lrsearch launch studies/fashion_mnist.toml
lrsearch confirm --study fashion-mnist-lenet
lrsearch launch studies/lenet_classics.toml
python -m tests.benchmarks.classics
"""

from __future__ import annotations

import argparse

import numpy as np

from lrsearch.evaluation import compare, last_confirmation, read_confirmation
from lrsearch.storage import open_storage
from lrsearch.study import open_study


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--storage", default="sqlite:///lrsearch.db")
    parser.add_argument("--search", default="fashion-mnist-lenet")
    parser.add_argument("--classics", default="lenet-classics")
    options = parser.parse_args()
    storage = open_storage(options.storage, create=False)
    confirmed = last_confirmation(open_study(storage, options.search))
    classics = read_confirmation(open_study(storage, options.classics))
    assert confirmed is not None
    assert confirmed.winner is not None
    assert confirmed.seeds == classics.seeds
    entries = [confirmed.winner, *classics.compared]
    values = np.array([[entry.values[seed] for seed in classics.seeds] for entry in entries])
    comparison = compare(values, maximize=classics.maximize)
    print(f"| schedule | {classics.metric} ± 95 % | sd | behind the best, pp ± 95 % |")
    print("|---|---|---|---|")
    for index in np.argsort(comparison.difference):
        name = entries[index].name + (" (the search's winner)" if index == 0 else "")
        alone = comparison.high[index] - comparison.mean[index]
        behind = 100 * (comparison.difference_high[index] - comparison.difference[index])
        print(
            f"| {name} | {comparison.mean[index]:.4f} ± {alone:.4f} | "
            f"{comparison.deviation[index]:.4f} | "
            f"{100 * comparison.difference[index]:.2f} ± {behind:.2f} |"
        )
    for entry in classics.entries:
        if entry.diverged:
            print(
                f"| {entry.name} | diverged on {len(entry.diverged)} of {len(classics.seeds)} |||"
            )


if __name__ == "__main__":
    main()
