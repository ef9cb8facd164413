"""LeNet on FashionMNIST: the task of the study files that come with lrsearch."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock
from platformdirs import user_cache_path
from torch import Tensor, nn
from torchvision.datasets import FashionMNIST

from lrsearch.errors import DataError, TaskError, nearest
from lrsearch.schedules import LrEvery
from lrsearch.tasks.load import load_attribute
from lrsearch.tasks.precision import Precision
from lrsearch.tasks.supervised import Supervised
from lrsearch.tasks.training import Data


def lenet() -> nn.Module:
    """Return LeNet with ReLU and max pooling: [B, 1, 28, 28] → [B, 10], 61,706 parameters.

    LeCun et al. 1998, "Gradient-based learning applied to document recognition", modernised.
    """
    return nn.Sequential(
        nn.Conv2d(1, 6, kernel_size=5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, kernel_size=5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * 5 * 5, 120),
        nn.ReLU(),
        nn.Linear(120, 84),
        nn.ReLU(),
        nn.Linear(84, 10),
    )


MODELS = {"lenet": lenet}
"""Networks by the name that `model` takes."""


def task(
    model: str = "lenet",
    optimizer: str | Mapping[str, Any] = "momentum",
    batch_size: int = 256,
    drop_last: bool = True,
    epochs: int = 10,
    lr_every: LrEvery = "update",
    data_dir: str | None = None,
    subset: int | None = None,
    validate_on: Literal["held_out", "test"] = "held_out",
    clip_norm: float | None = None,
    precision: Precision = "fp32",
    parallel: Literal["ddp"] | None = None,
) -> Supervised:
    """Return a network on FashionMNIST as a task.

    The first 50,000 training images train and the last 10,000 validate. The 10,000 test images are
    read only where a schedule is confirmed, unless `validate_on` says otherwise.

    Args:
        model: "lenet", or `module:factory` for your own (a callable that returns a network for
            inputs [B, 1, 28, 28] and 10 classes).
        optimizer: a name, or `{name = …, option = value}` with torch's own options.
        batch_size: images in an update.
        drop_last: whether what does not fill a batch is left out of an epoch.
        epochs: the length of the full run.
        lr_every: whether the rate changes with every "update" or every "epoch".
        data_dir: where the data lies or is downloaded to; else `LRSEARCH_DATA_DIR`, else a cache
            folder in the user's home.
        subset: train on that many images only, and validate on a fifth as many, for a quick look.
        validate_on: "held_out", or "test": all 60,000 training images train, and the test images
            are read after every epoch, as textbooks do. `val_accuracy` is then the test accuracy.
            To show how schedules train, not to choose one: no image is left to test the choice on.
        clip_norm: a gradient with a larger L2 norm is scaled down to it. In a study file `"p90"`,
            `"p95"` or the like has `launch` measure one: that percentile of the gradient's norms.
        precision: "fp32", "tf32" (faster matrix products on CUDA), or "bf16" (autocast).
        parallel: "ddp" to train a trial on several devices (`Supervised`).

    Raises:
        TaskError: for an unknown model or a value that breaks its rule.
    """
    if subset is not None and (type(subset) is not int or subset < 5):
        raise TaskError(f"task.subset must be a whole number from 5, but got {subset!r}")
    if validate_on not in ("held_out", "test"):
        raise TaskError(f'task.validate_on must be "held_out" or "test", but got {validate_on!r}')
    if validate_on == "test" and subset is not None:
        raise TaskError(
            'task.subset leaves out images that validate_on = "test" trains; choose one'
        )
    return Supervised(
        model=_network(model),
        data=partial(load, data_folder(data_dir), subset, validate_on == "test"),
        optimizer=optimizer,
        batch_size=batch_size,
        drop_last=drop_last,
        epochs=epochs,
        lr_every=lr_every,
        clip_norm=clip_norm,
        precision=precision,
        parallel=parallel,
    )


def data_folder(data_dir: str | None = None) -> Path:
    """Return `data_dir`, else `LRSEARCH_DATA_DIR`, else a cache folder in the user's home."""
    named = data_dir or os.environ.get("LRSEARCH_DATA_DIR")
    return Path(named).expanduser() if named else user_cache_path("lrsearch") / "data"


@lru_cache(maxsize=1)
def load(root: Path, subset: int | None = None, on_test: bool = False) -> Data:
    """Load FashionMNIST's training images, bytes [N, 1, 28, 28], split into 5/6 and 1/6.

    Or, `on_test`, all of them and the test images to validate on.

    torchvision downloads and verifies what is not there; one process at a time does.

    Raises:
        DataError: if the data is missing or corrupt and cannot be downloaded.
    """
    try:
        dataset = _dataset(root)
    except Exception as error:  # whatever a damaged file makes torchvision raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"FashionMNIST in {root} is missing or corrupt and cannot be downloaded: {reason}; "
            "put its four archives into FashionMNIST/raw there (delete what else it holds), "
            "or choose another folder with task.data_dir or LRSEARCH_DATA_DIR"
        ) from error
    images, labels = dataset.data.unsqueeze(1), dataset.targets
    if on_test:
        return Data((images, labels), _test(root))
    split = len(images) - len(images) // 6
    train, validation = slice(0, split), slice(split, None)
    if subset is not None:
        if subset > split:
            raise TaskError(f"task.subset must be at most {split} images, but got {subset}")
        train, validation = slice(0, subset), slice(split, split + subset // 5)
    held_out = (images[validation], labels[validation])
    return Data((images[train], labels[train]), held_out, partial(_test, root))


def _test(root: Path) -> tuple[Tensor, Tensor]:
    dataset = FashionMNIST(str(root), train=False)
    return dataset.data.unsqueeze(1), dataset.targets


def _dataset(root: Path) -> FashionMNIST:
    try:
        return FashionMNIST(str(root), train=True)
    except RuntimeError:  # not there yet
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / "download.lock"):
            return FashionMNIST(str(root), train=True, download=True)


def _network(model: str) -> Callable[[], nn.Module]:
    if ":" in model:
        factory = load_attribute(model)
        if not callable(factory):
            raise TaskError(f"task.model {model!r} must be a callable that returns a network")
        return factory  # type: ignore[no-any-return]
    if model not in MODELS:
        raise TaskError(
            f"task.model is {model!r}; {nearest(model, MODELS)} or your own as module:factory"
        )
    return MODELS[model]
