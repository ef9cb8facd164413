"""A new user's path: from a script that trains to a search, and back with the winner.

Each script is what people have; what a search adds is marked. Then the exported winner trains in
the library itself, and every update has the rate that it had in the search.
"""

import os
import subprocess
import sys
from pathlib import Path

import models
import pytest

ADDED = "  # added"
MOST = 5
"""Lines that may be added until a search runs."""

LIGHTNING = """
import warnings; warnings.simplefilter("ignore")
import models
import torch

Classifier, loaders = models.lightning_parts()

import lrsearch  # added
from lrsearch.integrations import lightning_task  # added
task = lightning_task(Classifier, loaders, max_epochs=3)  # added
search = lrsearch.optimize(task, trials=2, device="cpu")  # added
"""
LIGHTNING_BACK = """
from lightning.pytorch import Trainer
searched = rates_of_the_best(lambda: [rate for rate, _ in Classifier.rates], Classifier.rates.clear)
found = exported("lightning")


class Final(Classifier):
    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=found["BASE_LR"], momentum=0.9)
        return found["scheduled"](optimizer, self.trainer.estimated_stepping_batches)


Trainer(max_epochs=3, accelerator="cpu", logger=False, enable_checkpointing=False).fit(
    Final(), *loaders
)
compare(searched, [rate for rate, _ in Classifier.rates])
"""

TRANSFORMERS = """
import warnings; warnings.simplefilter("ignore")
import models

rates = []
trainer = models.trainer_parts("output", epochs=3, rates=rates)

import lrsearch  # added
from lrsearch.integrations import trainer_task  # added
search = lrsearch.optimize(trainer_task(trainer), trials=2, device="cpu")  # added
"""
TRANSFORMERS_BACK = """
searched = rates_of_the_best(lambda: rates, rates.clear)
found = exported("transformers")
if "ARGUMENTS" in found:
    final = models.trainer_parts("output", epochs=3, rates=rates, **found["ARGUMENTS"])
else:
    from torch.optim import SGD
    final = models.trainer_parts("output", epochs=3, rates=rates, model_init=False)
    optimizer = SGD(final.model.parameters(), lr=found["BASE_LR"])
    final.optimizer = optimizer
    final.lr_scheduler = found["get_schedule"](optimizer, 3 * models.BATCHES)
final.train()
compare(searched, rates)
"""

KERAS = """
import warnings; warnings.simplefilter("ignore")
import keras
import models

rates = []


class Record(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        rates.append(float(self.model.optimizer.learning_rate))


(model, x, y), fit = models.keras_parts(models.keras_model(), callbacks=[Record()])
model.fit(x, y, verbose=0, **fit)

import lrsearch  # added
from lrsearch.integrations import keras_task  # added
task = keras_task(model, x, y, epochs=3, **fit)  # added
search = lrsearch.optimize(task, trials=2, device="cpu")  # added
"""
KERAS_BACK = """
searched = rates_of_the_best(lambda: rates, rates.clear)
found = exported("keras")
final = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
final.compile(keras.optimizers.SGD(found["learning_rate"]), loss)


class Before(keras.callbacks.Callback):
    def on_train_batch_begin(self, batch, logs=None):
        rates.append(float(self.model.optimizer.learning_rate))


final.fit(
    x, y, epochs=3, verbose=0, batch_size=models.BATCH, validation_data=fit["validation_data"],
    callbacks=[*found.get("callbacks", []), Before()],
)
compare(searched, rates, 1e-6)
"""

BACK = """
import numpy as np


def rates_of_the_best(read, clear):
    # the winner's run in the search again, seen from inside the library
    clear()
    best, task = search.best, search.task
    run = task.run(search.schedule, epochs=3, seed=best.seed, device="cpu")
    values = [p.metrics[search.study.spec.study.metric] for p in run]
    assert values[-1] == best.full_values[0], "the search's own run is repeated"
    seen = list(read())
    clear()
    assert len(seen) == best.total_steps
    return seen


def exported(format):
    names = {"__name__": "exported"}
    exec(compile(search.export(format), "exported.py", "exec"), names)
    return names


def compare(searched, again, tolerance=1e-9):
    assert len(searched) == len(again)
    np.testing.assert_allclose(again, searched, rtol=tolerance)
    print("the same rates")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("library", "script", "back"),
    [
        ("lightning", LIGHTNING, LIGHTNING_BACK),
        ("transformers", TRANSFORMERS, TRANSFORMERS_BACK),
        ("keras", KERAS, KERAS_BACK),
    ],
)
def test_a_few_lines_make_a_search_and_its_winner_trains_alike(library, script, back, tmp_path):
    assert os.environ["KERAS_BACKEND"]  # which `models` sets: Keras's own default may be absent
    pytest.importorskip(library, reason="pip install '.[frameworks]'")
    added = [line for line in script.splitlines() if line.endswith(ADDED)]
    assert 0 < len(added) <= MOST
    assert not any("lrsearch" in line for line in script.splitlines() if line not in added)
    (tmp_path / "script.py").write_text(script + BACK + back)
    path = os.pathsep.join([str(Path(models.__file__).parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "the same rates" in done.stdout
    assert (tmp_path / "lrsearch.db").exists()
