"""How many trials an hour trains: the usual loop, ours, and packs of many trials at once.

    python -m tests.benchmarks.pack --device cuda --sizes 1 8 32 128 512
    python -m tests.benchmarks.pack --device cpu --sizes 1 2 8 --subset 2000

LeNet on FashionMNIST, momentum SGD, a cosine schedule each: epochs with their evaluation, all in
one process. "usual" is what a tutorial writes: a `DataLoader` over `ToTensor` images, `.item()` in
every step. "alone" is `Supervised.run`, its data as tensors on the device. A pack of 1 is what a
CUDA graph makes of that. Before each loop is timed it trains an epoch; then it takes turns with
"alone", and a ratio is of two neighbouring turns, so that it bears what else the machine does.

A trial-epoch is one epoch of one trial. "memory" is the most that torch reserves while the loop
lives, the data included. "of peak" is the arithmetic of matrix products and convolutions per
second, as a share of what one large product in single precision reaches in the same process. At the
end, since the profiler slows what comes after it: the share of an epoch in which kernels run.
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import DataLoader, Subset
from torch.utils.flop_counter import FlopCounterMode
from torchvision.datasets import FashionMNIST
from torchvision.transforms import ToTensor

from lrsearch.schedules import Cosine, Schedule
from lrsearch.tasks import Supervised, prepare_torch
from lrsearch.tasks.fashion_mnist import data_folder, lenet, task
from lrsearch.tasks.loop import as_input
from lrsearch.tasks.packs import Pack
from lrsearch.tasks.precision import PRECISIONS, forward, products

MANY = 10_000
"""Epochs of a run: more than are timed."""
LR = 0.05


def usual(made: Supervised, device: str) -> Iterator[object]:
    """Yield after every epoch of the usual loop."""
    dataset = FashionMNIST(str(data_folder()), train=True, transform=ToTensor())
    data = made.start(seed=0, device="cpu", lr=LR).data
    training = Subset(dataset, range(len(data.train[1])))
    held_out = Subset(dataset, range(50_000, 50_000 + len(data.validation[1])))
    batches = DataLoader(training, made.batch_size, shuffle=True, drop_last=True)
    validation = DataLoader(held_out, 1000)
    network = lenet().to(device)
    optimizer = torch.optim.SGD(network.parameters(), lr=LR, momentum=0.9)
    while True:
        total = 0.0
        for images, labels in batches:
            optimizer.zero_grad()
            with products(made.precision, torch.device(device)):
                with forward(made.precision, torch.device(device)):
                    outputs = network(images.to(device))
                    loss = nn.functional.cross_entropy(outputs, labels.to(device))
                loss.backward()
            optimizer.step()
            total += loss.item()
        with torch.no_grad():
            for images, labels in validation:
                total += (network(images.to(device)).argmax(1) == labels.to(device)).sum().item()
        yield total


def alone(made: Supervised, device: str) -> Iterator[object]:
    """Yield after every epoch of a trial alone."""
    yield from made.run(Schedule(Cosine(), LR), epochs=MANY, seed=0, device=device)


def packed(made: Supervised, device: str, members: int) -> Iterator[object]:
    """Yield after every epoch of a pack."""
    schedules = [Schedule(Cosine(), LR * 0.98 ** (k % 64)) for k in range(members)]
    yield from Pack(made, schedules, epochs=MANY, seed=0, device=device).run()


def seconds(run: Iterator[object]) -> float:
    """Return how long the next epoch takes; every epoch ends by reading numbers of the device."""
    before = time.perf_counter()
    next(run)
    return time.perf_counter() - before


def busy(run: Iterator[object]) -> str:
    """Return the share of the second epoch in which kernels run."""
    seconds(run)
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        wall = seconds(run)
    kernels = sum(event.self_device_time_total for event in profiler.key_averages())
    return f"{kernels / 1e6 / wall:.0%}"


def arithmetic(made: Supervised, device: str) -> float:
    """Return the floating-point operations of one epoch of one trial and its evaluation."""
    training = made.start(seed=0, device=device, lr=LR)
    inputs, targets = (tensor[: made.batch_size] for tensor in training.data.train)
    with FlopCounterMode(display=False) as forward, torch.no_grad():
        training.network(as_input(inputs))
    with FlopCounterMode(display=False) as update:
        training.loss(training.network(as_input(inputs)), targets).backward()
    per_example = forward.get_total_flops() / made.batch_size
    evaluation = per_example * len(training.data.validation[1])
    return made.steps_per_epoch * update.get_total_flops() + evaluation


def peak(device: str, size: int) -> float:
    """Return the operations per second of a large product, the best of some."""
    left, right = torch.randn(2, size, size, device=device)

    def turn() -> float:
        before = time.perf_counter()
        (left @ right)[0, 0].item()
        return time.perf_counter() - before

    return 2 * size**3 / min(turn() for _ in range(10))


def main() -> None:
    """Time all and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 8, 32, 128, 512])
    parser.add_argument("--repeats", type=int, default=3, help="timed epochs of each loop")
    parser.add_argument("--batch", type=int, default=256, help="batch size")
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32", help="of all loops")
    parser.add_argument("--subset", type=int, help="train on that many images only")
    options = parser.parse_args()
    device = options.device
    prepare_torch(device)
    made = task(
        batch_size=options.batch, subset=options.subset, epochs=MANY, precision=options.precision
    )
    operations = arithmetic(made, device)
    best = peak(device, 1024 if device == "cpu" else 8192)
    print(
        f"{torch.cuda.get_device_name() if device != 'cpu' else 'cpu, 1 thread'}, torch "
        f"{torch.__version__}, {made.steps_per_epoch} updates of {options.batch} an epoch, "
        f"{operations / 1e9:.1f} Gflop; peak {best / 1e12:.2f} Tflop/s"
    )
    print("median (min–max) of", options.repeats, "\n")
    row = "{:>9}  {:>12}  {:>20}  {:>9}  {:>7}".format
    print(row("", "epochs/h", "times alone", "memory", "of peak"))

    base = alone(made, device)
    seconds(base)
    loops: dict[str, tuple[Callable[[], Iterator[object]], int]] = {
        "usual": (partial(usual, made, device), 1),
        "alone": (partial(alone, made, device), 1),
    }
    for size in options.sizes:
        loops[f"pack {size}"] = (partial(packed, made, device, size), size)
    for name, (start, members) in loops.items():
        gc.collect()
        if device != "cpu":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        run = start()
        seconds(run)
        turns = [(seconds(base), seconds(run)) for _ in range(options.repeats)]
        ratios = [members * theirs / ours for theirs, ours in turns]
        second = median(ours for _, ours in turns)
        memory = "–" if device == "cpu" else f"{torch.cuda.max_memory_reserved() / 2**30:.2f} GiB"
        spread = f"{median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"
        share = f"{members * operations / second / best:.1%}"
        print(
            row(name, f"{3600 * members / second:,.0f}", spread, memory, share),
            flush=True,
        )
        del run  # its memory goes with it
    for name, (start, _) in loops.items() if device != "cpu" else ():
        print(f"{name}: kernels run {busy(start())} of the time", flush=True)


if __name__ == "__main__":
    main()
