"""The training loop: exact, resumable, at the schedule's rate, and clear about mistakes."""

import copy
import io
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from lrsearch.errors import DataError, TaskError
from lrsearch.schedules import (
    Constant,
    Cosine,
    Linear,
    OneCycle,
    Plateau,
    Schedule,
    Warmup,
    families,
)
from lrsearch.tasks import Data, Supervised, clock_of
from lrsearch.tasks.curve import within_epoch
from lrsearch.tasks.optimizers import OPTIMIZERS, SCHEDULE_FREE
from lrsearch.tasks.packs import packing_obstacle

EXAMPLES, BATCH, STEPS, EPOCHS = 70, 10, 7, 6


def labels(inputs):
    """Return which of the first three of inputs [N, 8] is the largest."""
    return inputs[:, :3].argmax(dim=1)


def vectors(validation=30):
    inputs = torch.randn(EXAMPLES + validation, 8, generator=torch.Generator().manual_seed(0))
    train, validation = inputs[:EXAMPLES], inputs[EXAMPLES:]
    return Data((train, labels(train)), (validation, labels(validation)))


def images():
    """Return bytes whose brightest quarter is the label."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.randint(4, (EXAMPLES + 30,), generator=generator)
    inputs = torch.randint(150, (EXAMPLES + 30, 1, 8, 8), generator=generator, dtype=torch.uint8)
    for image, target in zip(inputs, targets, strict=True):
        image[:, 2 * target : 2 * target + 2] += 100
    return Data((inputs[:EXAMPLES], targets[:EXAMPLES]), (inputs[EXAMPLES:], targets[EXAMPLES:]))


def mlp():
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))


def noisy_cnn():
    """Return a network with all that is hard to resume: dropout, and batch norm's averages."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.3), nn.Flatten(), nn.Linear(144, 4)
    )


def supervised(model=mlp, data=vectors, **options):
    return Supervised(model, data, **{"batch_size": BATCH, "epochs": EPOCHS, **options})


def run(task, schedule, epochs=EPOCHS, seed=0, state=None):
    return task.run(schedule, epochs=epochs, seed=seed, device="cpu", state=state)


def numbers(progress):
    return progress.epoch, progress.step, progress.lr, dict(progress.metrics)


class Recorder:
    """Makes networks and keeps, of the last, its first weights and every input it sees."""

    def __init__(self, model):
        self.model = model

    def __call__(self):
        network = self.model()
        self.first = copy.deepcopy(network)
        self.trained, self.evaluated = [], []
        network.register_forward_pre_hook(self.record)
        return network

    def record(self, network, args):
        (self.trained if network.training else self.evaluated).append(args[0].clone())


@pytest.fixture
def used():
    """(rate, momentum) of every update of any optimizer while the test runs."""
    seen = []

    def note(optimizer, args, kwargs):
        group = optimizer.param_groups[0]
        seen.append((group["lr"], group["momentum"]))

    hook = register_optimizer_step_pre_hook(note)
    yield seen
    hook.remove()


# What a run computes


@pytest.mark.parametrize("clip_norm", [None, 0.5])
def test_a_run_is_the_plain_loop_over_its_batches(clip_norm):
    recorder = Recorder(mlp)
    # More than evaluation takes at once: its metrics are means over examples, not over batches.
    data = vectors(validation=1030)
    schedule = Schedule(OneCycle(), 0.3)
    task = supervised(recorder, lambda: data, clip_norm=clip_norm)
    progress = list(run(task, schedule))

    (chance,) = task._baselines.values()
    network, losses, norms, hits = recorder.first, [], [], []
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0, momentum=0.9)
    for step, inputs in enumerate(recorder.trained):
        optimizer.param_groups[0]["lr"] = schedule.lr(step, EPOCHS * STEPS)
        optimizer.param_groups[0]["momentum"] = schedule.momentum(step, EPOCHS * STEPS)
        outputs = network(inputs)
        loss = nn.functional.cross_entropy(outputs, labels(inputs))
        hits.append(float((outputs.argmax(1) == labels(inputs)).double().mean()))
        optimizer.zero_grad()
        loss.backward()
        gradient = torch.cat([parameter.grad.flatten() for parameter in network.parameters()])
        norms.append(gradient.norm().item())
        if clip_norm is not None:
            nn.utils.clip_grad_norm_(network.parameters(), clip_norm)
        optimizer.step()
        losses.append(loss.item())
        if len(losses) % STEPS == 0:
            validation, targets = data.validation
            with torch.no_grad():
                outputs = network(validation)
            epoch = len(losses) // STEPS
            seen = progress[epoch - 1]
            assert (seen.epoch, seen.step) == (epoch, len(losses))
            lowest = np.minimum.accumulate(losses)
            rises = ((losses - lowest) / np.maximum(lowest, chance))[-STEPS:]
            assert seen.metrics == pytest.approx(
                {
                    "train_loss": sum(losses[-STEPS:]) / STEPS,
                    "train_accuracy": sum(hits[-STEPS:]) / STEPS,
                    "val_loss": float(nn.functional.cross_entropy(outputs, targets)),
                    "val_accuracy": float((outputs.argmax(1) == targets).double().mean()),
                    "grad_norm": max(norms[-STEPS:]),
                    "loss_jump": rises.max(),
                    "loss_jump_step": len(losses) - STEPS + rises.argmax(),
                },
                rel=1e-4,
            )
    assert len(losses) == EPOCHS * STEPS == progress[-1].step
    assert min(norms) < 0.5 < max(norms)  # clipping has something to cut, and something to leave
    assert progress[-1].metrics["val_loss"] < 0.5 * progress[0].metrics["val_loss"]


def test_a_last_batch_that_is_smaller_counts_by_its_examples():
    recorder = Recorder(mlp)
    task = supervised(recorder, batch_size=16, drop_last=False)
    assert task.steps_per_epoch == 5
    progress = next(run(task, Schedule(Constant(), 1e-9)))
    assert [len(batch) for batch in recorder.trained] == [16, 16, 16, 16, 6]  # one pass, no other
    inputs, targets = vectors().train
    assert sorted(torch.cat(recorder.trained).tolist()) == sorted(inputs.tolist())
    with torch.no_grad():
        outputs = recorder.first(inputs)  # a rate of next to nothing: the same at every update
    seen = progress.metrics
    loss = float(nn.functional.cross_entropy(outputs, targets))
    assert seen["train_loss"] == pytest.approx(loss, rel=1e-6)
    hits = float((outputs.argmax(1) == targets).double().mean())
    assert seen["train_accuracy"] == pytest.approx(hits, rel=1e-6)
    obstacle = packing_obstacle(task)
    assert obstacle is not None
    assert "last batch" in obstacle


def test_a_metric_that_a_batch_leaves_undefined_is_no_divergence():
    def undefined(outputs, targets):
        return torch.tensor(0.0 if len(targets) > BATCH else math.nan)

    progress = next(run(supervised(metrics={"rare": undefined}), Schedule(Constant(), 0.1)))
    assert not progress.diverged
    assert "train_rare" not in progress.metrics
    assert progress.metrics["val_rare"] == 0.0


def test_every_epoch_trains_full_batches_of_a_fresh_order():
    recorder = Recorder(lambda: nn.Linear(1, 1).eval())  # as trained networks often come
    inputs = torch.arange(73.0)[:, None] / 73
    data = Data((inputs, inputs), (inputs, inputs))
    task = supervised(recorder, lambda: data, loss=nn.functional.mse_loss, metrics={})
    list(run(task, Schedule(Constant(), 1e-3)))
    assert {len(batch) for batch in recorder.trained} == {BATCH}
    order = torch.stack(recorder.trained).reshape(EPOCHS, STEPS * BATCH).tolist()
    assert all(len(set(epoch)) == STEPS * BATCH for epoch in order)
    assert len({tuple(epoch) for epoch in order}) == EPOCHS
    left_out = [set(inputs.flatten().tolist()) - set(epoch) for epoch in order]
    assert not set.intersection(*left_out)  # the three are other ones each time


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.int64])
def test_bytes_are_read_as_floats_in_0_to_1_and_all_else_as_it_is(dtype):
    class Reader(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))

        def forward(self, inputs):
            return inputs.float() * self.weight

    recorder = Recorder(Reader)
    inputs = torch.arange(256).to(dtype)[:, None]
    data = Data((inputs, inputs.float()), (inputs, inputs.float()))
    task = supervised(
        recorder, lambda: data, loss=nn.functional.mse_loss, metrics={}, batch_size=256
    )
    next(run(task, Schedule(Constant(), 1e-9)))
    expected = torch.arange(256) / 255 if dtype == torch.uint8 else inputs.flatten()
    for seen in (recorder.evaluated[0], recorder.trained[0].sort(dim=0).values):
        assert torch.equal(seen.flatten(), expected)
    assert torch.equal(inputs, torch.arange(256).to(dtype)[:, None])  # the data stays as it is


def test_data_is_loaded_once_and_metrics_are_named_beforehand():
    loaded = []
    task = supervised(
        data=lambda: loaded.append(1) or vectors(), metrics={"mistakes": nn.NLLLoss()}
    )
    named = ["train_loss", "train_mistakes", "val_loss", "val_mistakes", "grad_norm"]
    assert task.metric_names[:5] == named
    assert not loaded
    for _ in range(2):
        assert set(next(run(task, Schedule(Constant(), 0.1))).metrics) == set(task.metric_names)
    assert loaded == [1]


@pytest.mark.parametrize("drop_last", [True, False])
def test_the_curve_within_an_epoch_is_the_means_between_its_points(drop_last):
    kept = []

    def kept_loss(outputs, targets):
        loss = nn.functional.cross_entropy(outputs, targets)
        if outputs.requires_grad:
            kept.append((float(loss.detach()), len(targets)))
        return loss

    task = supervised(loss=kept_loss, metrics={}, batch_size=6, drop_last=drop_last)
    steps, done = task.steps_per_epoch, 0  # 11, or 12 whose last is smaller
    assert steps == (11 if drop_last else 12)
    for progress in run(task, Schedule(Constant(), 0.1), 3):
        points = [step for step, _ in progress.curve]
        assert points == [*range(done + 2, done + steps, 2), done + steps]
        for (step, metrics), begin in zip(progress.curve, [done, *points], strict=False):
            losses, sizes = zip(*kept[begin:step], strict=True)
            assert metrics == {
                "train_loss": pytest.approx(np.average(losses, weights=sizes), rel=1e-5)
            }
        done += steps


@pytest.mark.parametrize(("updates", "points"), [(1, 1), (31, 6), (235, 5), (900, 18), (9000, 20)])
def test_a_curve_has_a_point_every_50_updates_but_five_to_twenty(updates, points):
    curve = within_epoch({"train_loss": torch.arange(updates)}, 7)
    assert len(curve) == points
    assert curve[-1][0] == 7 + updates


def test_a_curve_ends_before_what_is_not_finite():
    losses, hits = torch.ones(10), torch.full((10,), math.nan)
    losses[5] = math.inf
    curve = within_epoch({"train_loss": losses, "train_hits": hits}, 0)
    assert curve == [(step, {"train_loss": 1.0}) for step in (2, 4, 5)]


# The same numbers, whatever happens around or between


def test_the_seed_decides_every_bit():
    schedule = Schedule(Cosine(), 0.1)
    first, again, other = (
        [numbers(p) for p in run(supervised(noisy_cnn, images), schedule, seed=seed)]
        for seed in (1, 1, 2)
    )
    assert first == again
    assert all(a[3] != b[3] for a, b in zip(first, other, strict=True))


SCHEDULES = {
    "cosine": Schedule(Cosine(), 0.01, Warmup("linear", 0.2)),
    "one_cycle": Schedule(OneCycle(), 0.01),
    "plateau": Schedule(Plateau(drop_factor=0.5, patience=0, threshold=0.9), 0.01),
}


@pytest.mark.parametrize("lr_every", ["update", "epoch"])
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_run_resumed_after_any_epoch_goes_on_to_the_last_bit(optimizer, schedule, lr_every):
    task = supervised(noisy_cnn, images, optimizer=optimizer, lr_every=lr_every)
    whole, states = [], []
    for progress in run(task, schedule, epochs=4):  # not the full run: parts end within epochs
        file = io.BytesIO()
        torch.save(progress.capture(), file)
        whole.append(numbers(progress))
        states.append(file)
    assert len({lr for _, _, lr, _ in whole}) > 2
    for done, file in enumerate(states, 1):
        file.seek(0)
        state = torch.load(file, weights_only=True)
        assert [numbers(p) for p in run(task, schedule, epochs=4, state=state)] == whole[done:]


@pytest.mark.parametrize("name", SCHEDULE_FREE)
def test_schedule_free_weights_are_evaluated_as_averages_and_resumed_to_the_last_bit(name):
    pytest.importorskip("schedulefree", reason="pip install 'lrsearch[schedulefree]'")
    task = supervised(optimizer=name)
    schedule = Schedule(Plateau(patience=0), 0.05)  # evaluations within epochs as well
    whole, states = [], []
    for progress in run(task, schedule, epochs=4):
        whole.append(numbers(progress))
        states.append(copy.deepcopy(progress.capture()))
        network = mlp()
        network.load_state_dict(states[-1]["network"])  # what a model file would hold
        inputs, targets = vectors().validation
        with torch.no_grad():
            loss = float(nn.functional.cross_entropy(network(inputs), targets))
        assert loss == pytest.approx(progress.metrics["val_loss"], rel=1e-5)
        assert states[-1]["optimizer"]["param_groups"][0]["train_mode"] is False
    assert whole[-1][3]["val_loss"] < whole[0][3]["val_loss"]
    for done, state in enumerate(states, 1):
        assert [numbers(p) for p in run(task, schedule, 4, state=state)] == whole[done:]
    assert "ScheduleFree" in str(packing_obstacle(task))


@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_interleaved_runs_do_not_disturb_each_other(optimizer):
    # One forks off the other: it must not train on in the tensors that both start from.
    task = supervised(noisy_cnn, images, optimizer=optimizer)
    schedule = Schedule(Cosine(), 0.01)
    alone = [numbers(p) for p in run(task, schedule)]

    trunk = run(task, schedule)
    first = next(trunk)
    fork = run(task, schedule, state=first.capture())
    other = run(supervised(), schedule, seed=5)
    together = [numbers(first)], [numbers(first)]
    for forked, _, on in zip(fork, other, trunk, strict=False):
        torch.rand(3)  # nor does it matter what else draws random numbers
        together[0].append(numbers(forked))
        together[1].append(numbers(on))
    assert together == (alone, alone)


def test_a_state_is_captured_only_when_asked_for():
    captured = []

    class Counting(nn.Linear):
        def state_dict(self, *args, **kwargs):
            captured.append(1)
            return super().state_dict(*args, **kwargs)

    for progress in run(supervised(lambda: Counting(8, 3)), Schedule(Constant(), 0.1)):
        assert len(captured) == (progress.epoch > 3)
        if progress.epoch == 3:
            progress.capture()


# The rate


@pytest.mark.parametrize("epochs", [2, EPOCHS, 7])
@pytest.mark.parametrize("family", families.values(), ids=families)
def test_every_update_has_the_schedules_rate_and_momentum(family, epochs, used):
    schedule = Schedule(family(), 0.03, None if family.has_own_warmup else Warmup("cosine", 0.1))
    heard = []
    for progress in run(supervised(), schedule, epochs):
        assert progress.lr == used[progress.step - 1][0]
        heard = progress.capture()["scheduler"]["losses"]
    total = epochs * STEPS
    assert [lr for lr, _ in used] == schedule.curve(total, heard).tolist()
    assert [momentum for _, momentum in used] == [
        schedule.momentum(step, total) or 0.9 for step in range(total)
    ]


@pytest.mark.parametrize("epochs", [2, EPOCHS])
@pytest.mark.parametrize("lr_every", ["update", "epoch"])
@pytest.mark.parametrize("family", ["cosine", "plateau"])
def test_a_prepended_warmup_is_trained_before_the_run(family, lr_every, epochs, used):
    schedule = Schedule(families[family](), 0.03, Warmup("linear", 0.3, prepend=True))
    task = supervised(noisy_cnn, images, lr_every=lr_every)
    whole, states = [], []
    for progress in run(task, schedule, epochs):
        whole.append(numbers(progress))
        states.append(copy.deepcopy(progress.capture()))
    clock = clock_of(task, epochs, schedule)
    lead = clock.total_steps - epochs * STEPS
    if lr_every == "update":
        assert lead == math.ceil(0.3 * epochs * STEPS)
    else:  # whole epochs
        assert lead == math.ceil(0.3 * EPOCHS) * epochs * STEPS // EPOCHS
    assert [progress[1] for progress in whole] == [lead + (e + 1) * STEPS for e in range(epochs)]
    heard = states[-1]["scheduler"]["losses"]
    assert len(heard) == (EPOCHS if family == "plateau" else 0)  # none in the warmup
    assert [lr for lr, _ in used] == clock.curve(schedule, heard).tolist()
    for done, state in enumerate(states, 1):
        assert [numbers(p) for p in run(task, schedule, epochs, state=state)] == whole[done:]


def test_plateau_hears_of_the_metric_that_it_names():
    schedule = Schedule(Plateau(metric="val_accuracy", maximize=True, patience=0), 1e-3)
    heard = []
    for progress in run(supervised(), schedule):
        heard.append(progress.metrics["val_accuracy"])
        assert progress.capture()["scheduler"]["losses"] == heard
    wrong = Schedule(Plateau(metric="val_acuracy"), 0.1)
    with pytest.raises(TaskError, match="did you mean 'val_accuracy'"):
        next(run(supervised(), wrong))


def test_a_task_that_does_not_know_of_prepended_warmups_is_refused():
    class Other:
        epochs, steps_per_epoch = 3, 10

        def run(self, schedule, **options):
            raise AssertionError

    schedule = Schedule(Cosine(), 0.1, Warmup("linear", 0.1, prepend=True))
    with pytest.raises(TaskError, match=r"Other does not say .* leave prepend out"):
        clock_of(Other(), schedule=schedule)


@pytest.mark.parametrize("epochs", [1, 2, EPOCHS, 9])
def test_by_epoch_a_run_of_any_length_has_as_many_rates_as_the_full_run_has_epochs(epochs, used):
    schedule = Schedule(OneCycle(), 0.1)
    list(run(supervised(lr_every="epoch"), schedule, epochs))
    parts = [step * EPOCHS // (epochs * STEPS) for step in range(epochs * STEPS)]
    assert set(parts) == set(range(EPOCHS))
    assert used == [(schedule.lr(p, EPOCHS), schedule.momentum(p, EPOCHS)) for p in parts]
    if epochs == EPOCHS:
        assert parts == [epoch for epoch in range(EPOCHS) for _ in range(STEPS)]


def test_an_optimizer_of_ones_own_keeps_the_ratio_of_its_groups():
    made = []

    def optimizer(network):
        slow = {"params": network[2].parameters(), "lr": 0.2}
        made.append(torch.optim.SGD([{"params": network[0].parameters()}, slow], lr=2.0))
        return made[-1]

    task = supervised(optimizer=optimizer)
    schedule = Schedule(Linear(), 0.1)
    whole, states = [], []
    for progress in run(task, schedule):
        fast, slow = (group["lr"] for group in made[-1].param_groups)
        assert fast == pytest.approx(schedule.lr(progress.step, EPOCHS * STEPS))  # the coming one
        assert slow == pytest.approx(fast / 10)
        whole.append(numbers(progress))
        states.append(copy.deepcopy(progress.capture()))
    assert [numbers(p) for p in run(task, schedule, state=states[1])] == whole[2:]
    assert task.base_lr is None  # nobody knows its usual rates


@pytest.mark.parametrize("lr_every", ["update", "epoch"])
@pytest.mark.parametrize("epochs", [1, 2, 3, 4, EPOCHS, 8, 12])
def test_plateau_hears_as_many_evaluations_as_the_full_run_has_epochs(epochs, lr_every, used):
    # No loss is a tenth of the best, so each evaluation but the first is one drop.
    schedule = Schedule(Plateau(drop_factor=0.5, patience=0, threshold=0.9), 1e-3)
    recorder = Recorder(mlp)
    (*_, last) = run(supervised(recorder, lr_every=lr_every), schedule, epochs)
    total = epochs * STEPS
    heard = [step * EPOCHS // total for step in range(total)]
    assert [lr for lr, _ in used] == [1e-3 * 0.5 ** max(0, count - 1) for count in heard]
    assert len(last.capture()["scheduler"]["losses"]) == EPOCHS

    # Evaluations for the schedule serve for the progress where they fall together, as they all do
    # in the full run. Before the first update two passes ask what a run must beat.
    ends_of_epochs = {epoch * STEPS for epoch in range(1, epochs + 1)}
    ends_of_parts = {math.ceil(part * total / EPOCHS) for part in range(1, EPOCHS + 1)}
    assert len(recorder.evaluated) == 2 + len(ends_of_epochs | ends_of_parts)


def test_plateau_hears_what_the_progress_tells():
    schedule = Schedule(Plateau(), 0.1)
    told = []
    for progress in run(supervised(), schedule):
        told.append(progress.metrics["val_loss"])
        assert progress.capture()["scheduler"]["losses"] == told


# Divergence


@pytest.mark.parametrize("base_lr", [3.0, 1e3, 1e30])
def test_a_run_that_diverges_ends_there_and_tells_where(base_lr):
    recorder = Recorder(lambda: nn.Linear(8, 1))
    data = Data(*((inputs, inputs[:, :1]) for inputs, _ in (vectors().train, vectors().validation)))
    task = supervised(recorder, lambda: data, loss=nn.functional.mse_loss, metrics={})
    schedule = Schedule(Linear(), base_lr)
    *before, last = run(task, schedule)

    network = recorder.first
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0, momentum=0.9)
    for step, inputs in enumerate(recorder.trained):
        optimizer.param_groups[0]["lr"] = schedule.lr(step, EPOCHS * STEPS)
        loss = nn.functional.mse_loss(network(inputs), inputs[:, :1])
        if not torch.isfinite(loss):
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    else:
        pytest.fail("nothing diverged")

    assert last.diverged
    assert (last.epoch, last.step) == (step // STEPS + 1, step)
    assert last.lr == schedule.lr(step, EPOCHS * STEPS)
    assert not any(progress.diverged for progress in before)
    assert len(before) == last.epoch - 1 < EPOCHS - 1


def test_a_validation_loss_that_is_not_finite_ends_a_run_too():
    train, (inputs, targets) = vectors().train, vectors().validation
    data = Data(train, (inputs / 0, targets))
    (last,) = run(supervised(data=lambda: data), Schedule(Constant(), 0.1))
    assert last.diverged
    assert math.isfinite(last.metrics["train_loss"])
    assert (last.epoch, last.step, last.lr) == (1, STEPS, 0.1)


# Mistakes


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"epochs": 0}, "task.epochs must be a whole number from 1, but got 0"),
        ({"epochs": True}, "but got True"),
        ({"batch_size": 2.5}, "task.batch_size must be a whole number from 1, but got 2.5"),
        ({"clip_norm": 0}, "task.clip_norm must be a positive number, but got 0"),
        ({"clip_norm": math.inf}, "but got inf"),
        ({"lr_every": "step"}, '"update" or "epoch", but got \'step\''),
        ({"optimizer": "adamm"}, "did you mean 'adam'?"),
        ({"optimizer": {"name": "adam", "lr": 1}}, "has no option 'lr'"),
    ],
)
def test_a_mistake_is_told_before_any_training(options, said):
    with pytest.raises(TaskError) as error:
        supervised(**options)
    assert said in str(error.value)


def test_a_batch_must_fit_into_the_data():
    assert supervised(batch_size=EXAMPLES).steps_per_epoch == 1
    with pytest.raises(TaskError, match="at most the 70 training examples, but is 71; lower it"):
        next(run(supervised(batch_size=71), Schedule(Constant(), 0.1)))


@pytest.mark.parametrize("part", ["train", "validation"])
@pytest.mark.parametrize("counts", [(5, 4), (4, 5), (0, 0)])
def test_data_needs_as_many_inputs_as_targets_and_at_least_one(part, counts):
    good, bad = (torch.zeros(3, 8), torch.zeros(3)), tuple(torch.zeros(n) for n in counts)
    with pytest.raises(DataError, match=f"the {part} data .* has {counts[0]} and {counts[1]}"):
        Data(*((bad, good) if part == "train" else (good, bad)))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_usual_base_lr_is_the_optimizers(optimizer):
    for spec in (optimizer, {"name": optimizer, "weight_decay": 0.1}):
        assert supervised(optimizer=spec).base_lr == OPTIMIZERS[optimizer].base_lr
