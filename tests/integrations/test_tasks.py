"""Lightning, transformers and Keras as tasks: rates, seeds, resuming, pruning."""

import threading
from contextlib import closing

import models
import numpy as np
import pytest

from lrsearch import Schedule, Task, Warmup, families
from lrsearch.errors import TaskError
from lrsearch.integrations import keras_task, lightning_task, trainer_space, trainer_task

EPOCHS = 4
SCHEDULES = [
    Schedule(families["cosine"](), 0.05, Warmup("linear", 0.2)),
    Schedule(families["one_cycle"](), 0.05),
    Schedule(families["plateau"](patience=0, threshold=0.5), 0.05),
]


class Lightning:
    """The task, the metrics that it gives, and the rates that its updates saw."""

    name = "lightning"
    metrics = frozenset({"val_loss", "train_loss"})
    tolerance = 1e-12

    def __init__(self, folder, **options):
        self.module, loaders = models.lightning_parts()
        self.module.rates.clear()
        self.task = lightning_task(self.module, loaders, max_epochs=EPOCHS, **options)

    def rates(self):
        return [rate for rate, _ in self.module.rates]


class Transformers:
    name = "transformers"
    metrics = frozenset({"val_loss", "val_accuracy", "train_loss"})
    tolerance = 1e-12

    def __init__(self, folder, **options):
        self.seen = []
        self.trainer = models.trainer_parts(folder, rates=self.seen, epochs=EPOCHS, **options)
        self.task = trainer_task(self.trainer)

    def rates(self):
        return self.seen


class Keras:
    name = "keras"
    metrics = frozenset({"val_loss", "val_accuracy", "train_loss", "train_accuracy"})
    tolerance = 1e-6

    def __init__(self, folder, **options):
        import keras

        self.seen = seen = []

        class Record(keras.callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None):
                seen.append(float(self.model.optimizer.learning_rate))

        data, fit = models.keras_parts(callbacks=[Record()], **options)
        self.task = keras_task(*data, epochs=EPOCHS, **fit)

    def rates(self):
        return self.seen


@pytest.fixture(params=[Lightning, Transformers, Keras], ids=lambda kind: kind.name)
def kind(request):
    pytest.importorskip(request.param.name, reason="pip install '.[frameworks]'")
    with models.quiet():
        yield request.param


def run(task, schedule, *, epochs=EPOCHS, seed=0, state=None):
    return task.run(schedule, epochs=epochs, seed=seed, device="cpu", state=state)


@pytest.mark.slow
@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule.family.name)
def test_every_update_has_the_rate_of_the_schedule(kind, schedule, tmp_path):
    parts = kind(tmp_path)
    assert isinstance(parts.task, Task)
    assert parts.task.steps_per_epoch == models.BATCHES
    shown = list(run(parts.task, schedule))
    assert [progress.epoch for progress in shown] == [1, 2, 3, 4]
    assert all(kind.metrics <= set(progress.metrics) for progress in shown)
    losses = [progress.metrics["val_loss"] for progress in shown]
    curve = schedule.curve(EPOCHS * models.BATCHES, losses)
    np.testing.assert_allclose(parts.rates(), curve, rtol=kind.tolerance)


@pytest.mark.slow
def test_a_seed_repeats_a_run_and_a_checkpoint_goes_on_with_the_same_numbers(kind, tmp_path):
    task, schedule = kind(tmp_path).task, SCHEDULES[2]
    first = []
    for progress in run(task, schedule):
        state = progress.capture() if progress.capture and progress.epoch == 2 else None
        first.append((dict(progress.metrics), state))
    metrics = [shown for shown, _ in first]
    state = stored(first[1][1])
    assert [dict(progress.metrics) for progress in run(task, schedule, seed=7)] != metrics
    assert [dict(progress.metrics) for progress in run(task, schedule)] == metrics
    assert [dict(progress.metrics) for progress in run(task, schedule, state=state)] == metrics[2:]


def stored(state):
    """A state as it comes back from a checkpoint."""
    from io import BytesIO

    import torch

    file = BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.slow
def test_a_run_that_is_pruned_ends_there_and_leaves_nothing_running(kind, tmp_path):
    parts = kind(tmp_path)
    with closing(run(parts.task, SCHEDULES[0], epochs=50)) as shown:
        assert next(shown).epoch == 1
    assert len(parts.rates()) == models.BATCHES
    assert not [thread for thread in threading.enumerate() if thread.name == "training"]
    assert [p.epoch for p in run(parts.task, SCHEDULES[0], epochs=1)] == [1]  # and it trains again


@pytest.mark.slow
def test_a_rate_that_is_too_high_diverges_and_what_fails_is_told(kind, tmp_path):
    huge = Schedule(families["constant"](), 1e30)
    with np.errstate(all="ignore"):
        shown = list(run(kind(tmp_path).task, huge, epochs=2))
    assert shown[-1].diverged


@pytest.mark.slow
def test_a_model_in_hand_begins_every_run_with_its_weights(tmp_path):
    pytest.importorskip("keras")
    pytest.importorskip("transformers")
    pytest.importorskip("lightning")
    module, loaders = models.lightning_parts()
    data, fit = models.keras_parts(models.keras_model())
    with models.quiet():
        for task in (
            lightning_task(module(), loaders, max_epochs=EPOCHS),
            trainer_task(models.trainer_parts(tmp_path, model_init=False)),
            keras_task(*data, epochs=EPOCHS, **fit),
        ):
            once, again = (
                [dict(progress.metrics) for progress in run(task, SCHEDULES[0])] for _ in range(2)
            )
            assert once == again


@pytest.mark.slow
def test_the_own_search_of_transformers_takes_our_space(tmp_path):
    pytest.importorskip("transformers")
    rates = []
    trainer = models.trainer_parts(tmp_path, rates=rates, epochs=2, eval_strategy="epoch")
    domains = {"warmup": "none", "linear.min_factor": 0.0}
    with models.quiet():
        trainer.hyperparameter_search(
            hp_space=trainer_space(trainer, families=["linear"], domains=domains),
            backend="optuna",
            n_trials=2,
        )
    runs = np.reshape(rates, (2, -1))
    linear = 1 - np.arange(runs.shape[1]) / runs.shape[1]
    np.testing.assert_allclose(runs / runs[:, :1], np.tile(linear, (2, 1)), rtol=1e-9)
    assert runs[0, 0] != runs[1, 0]


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't:DeprecationWarning")
def test_what_cannot_be_a_task_is_refused_with_the_fix(tmp_path):
    pytest.importorskip("transformers")
    with pytest.raises(TaskError, match="set num_train_epochs alone"):
        trainer_task(models.trainer_parts(tmp_path, max_steps=10))
    with pytest.raises(TaskError, match="the Trainer trains on cpu, but the study on cuda"):
        next(
            trainer_task(models.trainer_parts(tmp_path)).run(
                SCHEDULES[0], epochs=1, seed=0, device="cuda"
            )
        )
    pytest.importorskip("keras")
    import keras

    with pytest.raises(TaskError, match=r"must be built \(keras.Input"):
        keras_task(keras.Sequential([keras.layers.Dense(2)]), epochs=1)
    with pytest.raises(TaskError, match="does not tell its length; give steps_per_epoch"):
        _ = keras_task(models.keras_model(), iter([]), epochs=1).steps_per_epoch
