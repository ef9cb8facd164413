"""Do the cures that a diagnosis names work on seeds that it has not seen?

    python -m tests.benchmarks.cures [--seeds 4 5 6 7] [--fresh 3] [--epochs 10] [--steps 150]

Diagnoses twenty layers without normalisation with each seed, and trains the cure that is named, and
the same rate without it, at full length on further seeds.
"""

import argparse
from dataclasses import replace
from typing import Any

import torch

from lrsearch.diagnosis import diagnose, train_trace
from lrsearch.diagnosis.stability import holds
from tests.diagnosis.networks import twenty


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[4, 5, 6, 7])
    parser.add_argument("--fresh", type=int, default=3, help="seeds that each cure is tried on")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--steps", type=int, default=150)
    options = parser.parse_args()
    torch.set_num_threads(1)
    task = replace(twenty, epochs=options.epochs)
    for seed in options.seeds:
        found = diagnose(task, low=1e-3, high=0.1, steps=options.steps, seed=seed)
        unstable = f"{found.unstable.base_lr:.3g}" if found.unstable else "nowhere"
        cure = found.cure
        print(f"seed {seed}: lr* {found.best.base_lr:.3g}, unstable at {unstable}", end="; ")
        if cure is None:
            print("no cure named", flush=True)
            continue
        counts = []
        ways: tuple[dict[str, Any], ...] = (
            {"warmup_steps": cure.warmup_steps, "clip_norm": cure.clip_norm},
            {},
        )
        for way in ways:
            traces = [
                train_trace(task, cure.base_lr, steps=cure.steps, seed=fresh, device="cpu", **way)
                for fresh in range(seed + 10, seed + 10 + 10 * options.fresh, 10)
            ]
            counts.append(sum(holds(trace, found.full_length[0]) for trace in traces))
        how = f"{cure.warmup_steps} updates of warmup" if cure.warmup_steps else "clipping"
        print(
            f"{how} at {cure.base_lr:.3g} holds on {counts[0]} of {options.fresh} further seeds, "
            f"without it on {counts[1]}",
            flush=True,
        )


if __name__ == "__main__":
    main()
