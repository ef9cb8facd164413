"""A schedule in Lightning's and transformers' own training, without an exported file."""

import numpy as np
import pytest
import running
import torch

from lrsearch import LrsearchError, Schedule, Warmup, families
from lrsearch.integrations import lightning as integrations
from lrsearch.integrations import lightning_callback

SCHEDULES = [
    Schedule(families["cosine"](), 0.1, Warmup("linear", 0.2)),
    Schedule(families["one_cycle"](), 0.1),
    Schedule(families["plateau"](patience=0), 0.1, Warmup("linear", 0.2)),
]
NO_LIGHTNING = "lightning is not installed; pip install '.[frameworks]'"


def model(seen):
    from lightning.pytorch import LightningModule

    class Model(LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(1, 1)

        def configure_optimizers(self):
            groups = [{"params": [self.layer.weight]}, {"params": [self.layer.bias], "lr": 3.0}]
            return torch.optim.SGD(groups, lr=1.0, momentum=0.9)

        def training_step(self, batch, index):
            groups = self.trainer.optimizers[0].param_groups
            seen.append((*(group["lr"] for group in groups), groups[0]["momentum"]))
            return self.layer(batch).sum()

        def validation_step(self, batch, index):
            self.log("val_loss", torch.tensor(running.LOSSES[self.current_epoch]))

    return Model()


@pytest.mark.slow
@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule.family.name)
@pytest.mark.parametrize("accumulate", [1, 2])
def test_lightning_follows_and_resumes(schedule, accumulate, tmp_path):
    lightning = pytest.importorskip("lightning.pytorch", reason=NO_LIGHTNING)
    seen = []
    checkpoint = str(tmp_path / "half.ckpt")

    class Save(lightning.Callback):
        def on_train_epoch_end(self, trainer, module):
            if trainer.current_epoch == 4:
                trainer.save_checkpoint(checkpoint)

    options = {"accumulate_grad_batches": accumulate, "max_epochs": 10, "length": 4}
    callbacks = [lightning_callback(schedule), Save()]
    running.fit(lightning.Trainer, model(seen), callbacks=callbacks, **options)
    total = 40 // accumulate
    curve = schedule.curve(total, running.LOSSES).repeat(accumulate)
    np.testing.assert_allclose([rate for rate, _, _ in seen], curve, rtol=1e-12)
    np.testing.assert_allclose([rate for _, rate, _ in seen], 3 * curve, rtol=1e-12)
    moved = schedule.momentum(total - 1, total)
    assert seen[-1][2] == (0.9 if moved is None else moved)

    resumed = []
    running.fit(
        lightning.Trainer,
        model(resumed),
        callbacks=[lightning_callback(schedule)],
        ckpt_path=checkpoint,
        **options,
    )
    assert resumed == seen[20:]


def test_lightning_without_an_end_is_refused():
    lightning = pytest.importorskip("lightning.pytorch", reason=NO_LIGHTNING)
    with pytest.raises(LrsearchError, match="give total_steps"):
        running.fit(
            lightning.Trainer,
            model([]),
            max_epochs=-1,
            length=1,
            callbacks=[lightning_callback(SCHEDULES[0])],
        )


def test_without_lightning_the_message_says_what_to_install(monkeypatch):
    def absent(name):
        raise ModuleNotFoundError(name=name.split(".")[0])

    monkeypatch.setattr(integrations, "import_module", absent)
    with pytest.raises(LrsearchError, match="pip install lightning"):
        lightning_callback(SCHEDULES[0])
