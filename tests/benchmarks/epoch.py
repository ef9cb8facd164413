"""How long an epoch takes in our loop and in the usual one, side by side.

    python -m tests.benchmarks.epoch --repeats 10

Both train LeNet on FashionMNIST for one epoch (momentum SGD, cosine schedule over its updates) and
evaluate it on the validation images: the same network, split, batch size and number of updates, in
one process, taking turns. Ours is `lrsearch.tasks.fashion_mnist.task`. The usual one is what a
tutorial writes: `ToTensor` on every image, a shuffling `DataLoader` in the training process, loss
and accuracy read with `.item()` in every step, torch's `CosineAnnealingLR`. Reading the files is
not timed. A ratio is of two neighbouring turns, so that it bears what else the machine does; CPU
seconds leave that out.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import NamedTuple

import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.data import DataLoader, Subset
from torchvision.datasets import FashionMNIST
from torchvision.transforms import ToTensor

from lrsearch.schedules import Cosine, Schedule
from lrsearch.tasks.fashion_mnist import data_folder, lenet, task

BASE_LR, TRAINING_IMAGES, VALIDATION_BATCH = 0.05, 50_000, 1000


def our_loop(batch_size: int) -> Callable[[int], float]:
    """Return one epoch of ours: seed → validation accuracy."""
    made = task(optimizer="momentum", batch_size=batch_size, epochs=1)
    _ = made.steps_per_epoch  # reads the data

    def epoch(seed: int) -> float:
        (progress,) = made.run(Schedule(Cosine(), BASE_LR), epochs=1, seed=seed, device="cpu")
        return progress.metrics["val_accuracy"]

    return epoch


def usual_loop(batch_size: int) -> Callable[[int], float]:
    """Return one epoch of the usual loop: seed → validation accuracy."""
    dataset = FashionMNIST(str(data_folder()), train=True, transform=ToTensor())
    training = Subset(dataset, range(TRAINING_IMAGES))
    validation = Subset(dataset, range(TRAINING_IMAGES, len(dataset)))

    def epoch(seed: int) -> float:
        torch.manual_seed(seed)
        batches = DataLoader(training, batch_size, shuffle=True, drop_last=True)
        network = lenet()
        optimizer = torch.optim.SGD(network.parameters(), lr=BASE_LR, momentum=0.9)
        scheduler = CosineAnnealingLR(optimizer, len(batches))
        criterion = nn.CrossEntropyLoss()
        network.train()
        running_loss = running_hits = 0.0
        for images, labels in batches:
            optimizer.zero_grad()
            outputs = network(images)
            loss = criterion(outputs, labels)
            loss.backward()
            optimizer.step()
            scheduler.step()
            running_loss += loss.item()
            running_hits += (outputs.argmax(1) == labels).sum().item()

        network.eval()
        val_loss = val_hits = 0.0
        with torch.no_grad():
            for images, labels in DataLoader(validation, VALIDATION_BATCH):
                outputs = network(images)
                val_loss += criterion(outputs, labels).item() * len(labels)
                val_hits += (outputs.argmax(1) == labels).sum().item()
        return val_hits / len(validation)

    return epoch


class Timing(NamedTuple):
    """What one epoch cost, and how well it learned."""

    wall: float
    cpu: float
    accuracy: float


def timed(epoch: Callable[[int], float], seed: int) -> Timing:
    """Take the time of one epoch."""
    wall, cpu = time.perf_counter(), time.process_time()
    accuracy = epoch(seed)
    return Timing(time.perf_counter() - wall, time.process_time() - cpu, accuracy)


def spread(values: Sequence[float]) -> str:
    """Return the median and the extremes."""
    return f"{median(values):.2f} ({min(values):.2f}–{max(values):.2f})"


def main() -> None:
    """Time both and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=10, help="epochs of each loop")
    parser.add_argument("--batches", type=int, nargs="+", default=[256], help="batch sizes")
    parser.add_argument("--threads", type=int, default=1, help="torch's threads")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(
        f"{options.repeats} epochs of each, {options.threads} thread(s), torch {torch.__version__}"
    )
    print("median (min–max)\n")
    row = "{:>5}  {:11}  {:18}  {:18}  {}".format
    print(row("batch", "", "usual loop", "ours", "usual / ours"))
    for batch_size in options.batches:
        loops = usual_loop(batch_size), our_loop(batch_size)
        for loop in loops:  # the first epoch of a process pays for what torch sets up
            loop(0)
        usual: list[Timing] = []
        ours: list[Timing] = []
        for seed in range(1, options.repeats + 1):
            # Who begins changes, lest one always follow the other's caches.
            order = [(loops[0], usual), (loops[1], ours)][:: 1 if seed % 2 else -1]
            for loop, results in order:
                results.append(timed(loop, seed))
        for name, measure in (("seconds", 0), ("CPU seconds", 1)):
            theirs, our = [t[measure] for t in usual], [t[measure] for t in ours]
            ratios = [a / b for a, b in zip(theirs, our, strict=True)]
            print(row(batch_size, name, spread(theirs), spread(our), spread(ratios)))
        accuracies = [spread([t.accuracy for t in turns]) for turns in (usual, ours)]
        print(row(batch_size, "accuracy", *accuracies, ""))


if __name__ == "__main__":
    main()
