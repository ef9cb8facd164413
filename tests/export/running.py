"""Runs exported files in the real frameworks: the rate, and momentum, of every update."""

import gc
import os
import warnings
from types import SimpleNamespace

os.environ.setdefault("KERAS_BACKEND", "torch")

LOSSES = (1.0, 0.7, 0.72, float("nan"), 0.71, 0.5, 0.55, 0.56, 0.57, 0.58)


def loaded(text):
    """The names of an exported module, as after its import."""
    names = {"__name__": "exported"}
    exec(compile(text, "exported.py", "exec"), names)
    return SimpleNamespace(**names)


def epochs_of(total_steps):
    """Epochs and updates in each: one evaluation for each of LOSSES, if there are so many."""
    epochs = min(len(LOSSES), total_steps)
    assert total_steps % epochs == 0
    return epochs, total_steps // epochs


def in_loop(optimizer, total_steps, update, evaluated):
    """Run a plain loop of torch; `update(step)` and `evaluated(epoch, loss)` come after each."""
    length = epochs_of(total_steps)[1]
    seen = []
    for step in range(total_steps):
        seen.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]))
        optimizer.step()
        update(step)
        if (step + 1) % length == 0:
            evaluated(step // length, LOSSES[step // length])
    return seen


def sgd(lr):
    import torch

    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    return torch.optim.SGD([{"params": [w]} for w in weights], lr=lr, momentum=0.9)


def timm(module, total_steps):
    optimizer = sgd(module.BASE_LR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "PlateauLRScheduler is deprecated", FutureWarning)
        scheduler = module.get_schedule(optimizer)
    return in_loop(
        optimizer,
        total_steps,
        lambda step: scheduler.step_update(step + 1),
        lambda epoch, loss: scheduler.step(epoch + 1, loss),
    )


def optax(module, total_steps):
    import jax
    import jax.numpy as jnp
    import optax

    moves = hasattr(module, "momentum")
    if moves:
        optimizer = optax.inject_hyperparams(optax.sgd)(module.learning_rate, module.momentum)
    else:
        optimizer = optax.sgd(module.learning_rate)
    params = jnp.zeros(())
    state = optimizer.init(params)
    plateau = getattr(module, "plateau", None)
    plateau_state = plateau.init(params) if plateau else None
    update = jax.jit(optimizer.update)
    length = epochs_of(total_steps)[1]
    seen = []
    for step in range(total_steps):
        updates, state = update(jnp.ones(()), state, params)
        if plateau:
            updates = optax.tree.scale(plateau_state.scale, updates)
        hyper = state.hyperparams if moves else {"learning_rate": -updates, "momentum": 0.9}
        seen.append((float(hyper["learning_rate"]), float(hyper["momentum"])))
        if plateau and (step + 1) % length == 0:
            loss = LOSSES[step // length]
            _, plateau_state = plateau.update(updates, plateau_state, value=loss)
    return seen


def keras(module, total_steps):
    import keras
    import numpy as np

    epochs, length = epochs_of(total_steps)
    seen = []

    class Losses(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["val_loss"] = LOSSES[epoch]

    class Record(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            optimizer = self.model.optimizer
            seen.append((float(optimizer.learning_rate), optimizer.momentum))

    callbacks = [Losses(), *getattr(module, "callbacks", []), Record()]
    if hasattr(module, "Momentum"):
        callbacks.insert(1, module.Momentum())
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(module.learning_rate, momentum=0.9), "mse")
    data = np.zeros((length, 1), dtype="float32")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "__array__ implementation doesn't", DeprecationWarning)
        model.fit(data, data, batch_size=1, epochs=epochs, verbose=0, callbacks=callbacks)
    return seen


def lightning(module, total_steps):
    import torch
    from lightning.pytorch import LightningModule, Trainer

    epochs, length = epochs_of(total_steps)
    seen = []

    class Model(LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(1, 1)

        def configure_optimizers(self):
            optimizer = torch.optim.SGD(self.parameters(), lr=module.BASE_LR, momentum=0.9)
            return module.scheduled(optimizer, self.trainer.estimated_stepping_batches)

        def training_step(self, batch, index):
            group = self.trainer.optimizers[0].param_groups[0]
            seen.append((group["lr"], group["momentum"]))
            return self.layer(batch).sum()

        def validation_step(self, batch, index):
            self.log("val_loss", torch.tensor(LOSSES[self.current_epoch]))

    fit(Trainer, Model(), max_epochs=epochs, length=length)
    return seen


def fit(trainer, model, length, ckpt_path=None, **options):
    """Train a Lightning module on zeros, quietly."""
    import torch

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*does not have many workers")
        warnings.filterwarnings("ignore", ".*LeafSpec", FutureWarning)
        trainer(
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            **options,
        ).fit(
            model,
            torch.utils.data.DataLoader(torch.zeros(length, 1)),
            torch.utils.data.DataLoader(torch.zeros(1, 1)),
            ckpt_path=ckpt_path,
        )


def transformers(module, total_steps, folder):
    import torch
    from transformers import Trainer, TrainingArguments

    epochs, length = epochs_of(total_steps)
    seen = []

    class Observed(Trainer):
        def compute_loss(self, model, inputs, **kwargs):
            group = self.optimizer.param_groups[0]
            seen.append((group["lr"], group.get("momentum", 0.9)))
            return model(inputs["x"]).sum()

        def evaluate(self, **kwargs):
            return {"eval_loss": LOSSES[round(self.state.epoch) - 1]}

    model = torch.nn.Linear(1, 1)
    given = {}
    arguments = TrainingArguments(
        str(folder),
        num_train_epochs=epochs,
        per_device_train_batch_size=1,
        report_to="none",
        use_cpu=True,
        save_strategy="no",
        disable_tqdm=True,
        logging_strategy="no",
        remove_unused_columns=False,
        **getattr(module, "ARGUMENTS", {}),
    )
    if hasattr(module, "get_schedule"):
        optimizer = torch.optim.SGD(model.parameters(), lr=module.BASE_LR, momentum=0.9)
        given["optimizers"] = (optimizer, module.get_schedule(optimizer, total_steps))
    if hasattr(module, "WarmupCallback"):
        given["callbacks"] = [module.WarmupCallback()]
    data = [{"x": torch.zeros(1)} for _ in range(length)]
    trainer = Observed(model, arguments, train_dataset=data, eval_dataset=data, **given)
    gc.freeze()  # it collects garbage before it trains: not all that the tests have imported
    trainer.train()
    gc.unfreeze()
    return seen
