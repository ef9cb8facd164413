"""A small classification in each library: what a user already has before lrsearch."""

import os
import warnings
from contextlib import contextmanager
from typing import ClassVar

import numpy as np

os.environ.setdefault("KERAS_BACKEND", "torch")

BATCHES, BATCH = 12, 8
NOISY = (
    ".*does not have many workers",
    ".*LeafSpec",
    ".*__array__ implementation doesn't",
    ".*pin_memory.*",
    ".*Detected call of `lr_scheduler.step\\(\\)` before `optimizer.step\\(\\)`.*",
)


@contextmanager
def quiet():
    """Silence what the libraries warn of in tests as small as these."""
    with warnings.catch_warnings():
        for message in NOISY:
            warnings.filterwarnings("ignore", message)
        yield


def arrays(examples=BATCHES * BATCH, seed=0):
    """Two blurry classes."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, examples)
    x = rng.normal(size=(examples, 4)) + y[:, None]
    return x.astype("float32"), y.astype("int64")


def lightning_parts(**options):
    """A LightningModule's class, and its loaders (training, shuffled; validation)."""
    import torch
    from lightning.pytorch import LightningModule
    from torch.utils.data import DataLoader, TensorDataset

    class Classifier(LightningModule):
        rates: ClassVar[list] = []

        def __init__(self):
            super().__init__()
            self.layers = torch.nn.Sequential(
                torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Dropout(0.2), torch.nn.Linear(8, 2)
            )

        def configure_optimizers(self):
            optimizer = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)
            return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1)]

        def training_step(self, batch, index):
            group = self.trainer.optimizers[0].param_groups[0]
            self.rates.append((group["lr"], group["momentum"]))
            return torch.nn.functional.cross_entropy(self.layers(batch[0]), batch[1])

        def validation_step(self, batch, index):
            outputs = self.layers(batch[0])
            self.log("val_loss", torch.nn.functional.cross_entropy(outputs, batch[1]))

    train, validation = (
        TensorDataset(*map(torch.from_numpy, arrays(seed=seed))) for seed in (0, 1)
    )
    loaders = DataLoader(train, BATCH, shuffle=True), DataLoader(validation, 64)
    return Classifier, loaders


def trainer_parts(folder, *, model_init=True, rates=None, epochs=4, **arguments):
    """A transformers Trainer."""
    import torch
    from transformers import Trainer, TrainingArguments

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = torch.nn.Sequential(
                torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Dropout(0.2), torch.nn.Linear(8, 2)
            )

        def forward(self, x, labels):
            logits = self.layers(x)
            return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}

    class Observed(Trainer):
        def compute_loss(self, *args, **kwargs):
            if rates is not None and self.model.training:
                group = self.optimizer.param_groups[0]
                rates.append(group["lr"])
            return super().compute_loss(*args, **kwargs)

    def accuracy(prediction):
        return {"accuracy": (prediction.predictions.argmax(-1) == prediction.label_ids).mean()}

    train, validation = (
        [{"x": x, "labels": y} for x, y in zip(*arrays(seed=seed), strict=True)] for seed in (0, 1)
    )
    given = {"model_init": Net} if model_init else {"model": Net()}
    return Observed(
        args=TrainingArguments(
            str(folder),
            num_train_epochs=epochs,
            per_device_train_batch_size=BATCH,
            use_cpu=True,
            report_to="none",
            **arguments,
        ),
        train_dataset=train,
        eval_dataset=validation,
        compute_metrics=accuracy,
        **given,
    )


def keras_model():
    """A compiled Keras model."""
    import keras

    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(8, "relu"),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(2),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss, metrics=["accuracy"])
    return model


def keras_parts(model=keras_model, **options):
    """A Keras model, or what makes one, and what its `fit` takes."""
    fit = {"validation_data": arrays(seed=1), "batch_size": BATCH, **options}
    return (model, *arrays()), fit
