"""Packs: many trials trained together have the numbers that each would have alone."""

import gc
import io
import math
import warnings
import weakref

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from lrsearch.errors import TaskError
from lrsearch.schedules import Constant, Cosine, OneCycle, Plateau, Schedule, Warmup
from lrsearch.tasks import Data, Supervised
from lrsearch.tasks.optimizers import OPTIMIZERS
from lrsearch.tasks.packs import Pack, packing_obstacle
from lrsearch.tasks.packs import stack as stacks
from lrsearch.tasks.training import Training

STEPS, EPOCHS = 10, 5

SCHEDULES = [
    Schedule(Cosine(), 0.02, Warmup("linear", 0.2)),
    Schedule(OneCycle(), 0.01),
    Schedule(Plateau(drop_factor=0.5, patience=0, threshold=0.9), 0.005),
]


@pytest.fixture(autouse=True)
def _double_precision():
    """Run in double precision, where rounding hides nothing, and on one thread, as workers do."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
    torch.set_num_threads(threads)


def images(dtype=None):
    inputs = torch.randn(127, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=dtype)
    targets = inputs.flatten(1)[:, :4].argmax(dim=1)
    return Data((inputs[:97], targets[:97]), (inputs[97:], targets[97:]))


def mlp():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 9), nn.ReLU(), nn.Linear(9, 4))


def cnn():
    head = (nn.Conv2d(5, 3, 2), nn.Flatten(), nn.Linear(12, 4))
    return nn.Sequential(nn.Conv2d(1, 5, 3), nn.ReLU(), nn.MaxPool2d(2), *head)


def normed_cnn():
    # A bias before batch norm has no gradient but rounding, which Adam would take for one.
    first = nn.Conv2d(1, 3, 3, bias=False)
    return nn.Sequential(first, nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(108, 4))


def dropping_mlp():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Dropout(0.5), nn.Linear(32, 4))


def supervised(model=mlp, data=images, **options):
    return Supervised(model, data, **{"batch_size": 97 // STEPS, "epochs": EPOCHS, **options})


def alone(task, schedule, epochs=EPOCHS, state=None, device="cpu"):
    """Return (progress, state) of every epoch."""
    run = task.run(schedule, epochs=epochs, seed=1, device=device, state=state)
    return [(progress, kept(progress)) for progress in run]


def packed(task, schedules, epochs=EPOCHS, states=None, device="cpu"):
    """Return (progress, state) of every epoch of every member."""
    pack = Pack(task, schedules, epochs=epochs, seed=1, device=device, states=states)
    members = [[] for _ in schedules]
    for told in pack.run():
        for number, progress in told.items():
            members[number].append((progress, kept(progress)))
    return members


def kept(progress):
    """Return the state as it comes back from a file."""
    if progress.capture is None:
        return None
    file = io.BytesIO()
    torch.save(progress.capture(), file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def leaves(state, path=""):
    """Yield the path and the value of everything in a state."""
    if isinstance(state, dict | list | tuple):
        pairs = state.items() if isinstance(state, dict) else enumerate(state)
        for key, value in pairs:
            yield from leaves(value, f"{path}/{key}")
    else:
        yield path, state


def assert_same(member, expected, tolerance=1e-10):
    """Check progress and state of every epoch."""
    assert len(member) == len(expected)
    for (progress, state), (other, other_state) in zip(member, expected, strict=True):
        assert (progress.epoch, progress.step, progress.lr) == (other.epoch, other.step, other.lr)
        close = {"rel": tolerance, "abs": tolerance, "nan_ok": True}
        assert progress.metrics == pytest.approx(other.metrics, **close)
        assert [step for step, _ in progress.curve] == [step for step, _ in other.curve]
        for (_, point), (_, expected_point) in zip(progress.curve, other.curve, strict=True):
            assert point == pytest.approx(expected_point, rel=max(tolerance, 1e-5))
        ours, theirs = dict(leaves(state)), dict(leaves(other_state))
        assert ours.keys() == theirs.keys()
        for path, value in ours.items():
            if isinstance(value, torch.Tensor):
                assert value.dtype == theirs[path].dtype
                torch.testing.assert_close(value, theirs[path], rtol=tolerance, atol=tolerance)
            elif isinstance(value, float):
                assert value == pytest.approx(theirs[path], rel=tolerance), path
            else:
                assert value == theirs[path], path


def numbers(member):
    return [(progress.epoch, progress.lr, dict(progress.metrics)) for progress, _ in member]


# Packed as alone


@pytest.mark.parametrize("model", [mlp, cnn, normed_cnn])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_members_have_the_numbers_and_the_states_of_runs_alone(optimizer, model):
    task = supervised(model, optimizer=optimizer)
    assert packing_obstacle(task) is None
    for member, schedule in zip(packed(task, SCHEDULES), SCHEDULES, strict=True):
        assert_same(member, alone(task, schedule))


OPTIONS = [
    {"name": "sgd", "weight_decay": 0.1, "maximize": True},
    {"name": "momentum", "dampening": 0.3, "weight_decay": 0.1},
    {"name": "nesterov", "momentum": 0.5, "weight_decay": 0.1},
    {"name": "rmsprop", "momentum": 0.5, "centered": True, "alpha": 0.9, "eps": 1e-4},
    {"name": "adam", "betas": (0.8, 0.99), "amsgrad": True, "weight_decay": 0.1, "eps": 1e-4},
    {"name": "adam", "betas": (0.0, 0.99), "decoupled_weight_decay": True, "weight_decay": 0.1},
    {"name": "nadam", "momentum_decay": 0.1, "weight_decay": 0.1},
    {"name": "nadam", "decoupled_weight_decay": True, "weight_decay": 0.1, "maximize": True},
    {"name": "adamw", "amsgrad": True, "foreach": True},
]


@pytest.mark.parametrize("optimizer", OPTIONS, ids=str)
def test_the_options_of_the_optimizers_count(optimizer):
    task = supervised(optimizer=optimizer)
    states = [alone(task, schedule)[1][1] for schedule in SCHEDULES]
    whole, on = packed(task, SCHEDULES), packed(task, SCHEDULES, states=states)
    for member, rest, schedule in zip(whole, on, SCHEDULES, strict=True):
        expected = alone(task, schedule)
        assert_same(member, expected)
        assert_same(rest, expected[2:])


def test_gradients_are_clipped_each_by_its_own_norm():
    task = supervised(cnn, clip_norm=1.0)
    expected = [alone(task, schedule) for schedule in SCHEDULES]
    for member, other in zip(packed(task, SCHEDULES), expected, strict=True):
        assert_same(member, other)
    free = alone(supervised(cnn), SCHEDULES[0])
    assert free[-1][0].metrics["val_loss"] != expected[0][-1][0].metrics["val_loss"]


@pytest.mark.parametrize("lr_every", ["update", "epoch"])
@pytest.mark.parametrize("epochs", [1, 2, EPOCHS, 7])
def test_a_horizon_of_any_length_has_its_rates_and_evaluations(epochs, lr_every):
    task = supervised(lr_every=lr_every)
    for member, schedule in zip(packed(task, SCHEDULES, epochs), SCHEDULES, strict=True):
        assert_same(member, alone(task, schedule, epochs))


def test_weights_without_a_gradient_stay_as_they_are():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.unused = nn.Linear(64, 64), nn.Linear(3, 3)
            self.frozen = nn.Linear(64, 4).requires_grad_(False)
            self.tied = nn.Linear(64, 64)
            self.tied.weight = self.first.weight

        def forward(self, inputs):
            return self.frozen(self.tied(self.first(inputs.flatten(1)).relu()))

    task = supervised(Odd, optimizer={"name": "adam", "weight_decay": 0.1})
    for member, schedule in zip(packed(task, SCHEDULES), SCHEDULES, strict=True):
        assert_same(member, alone(task, schedule))


def test_a_pack_of_one_and_bytes_in_single_precision():
    torch.set_default_dtype(torch.float32)
    train, validation = images().train, images().validation
    bytes_ = [((x * 40 + 128).clamp(0, 255).to(torch.uint8), y) for x, y in (train, validation)]
    task = supervised(cnn, lambda: Data(*bytes_))
    (member,) = packed(task, SCHEDULES[:1])
    assert_same(member, alone(task, SCHEDULES[0]), tolerance=1e-3)


def test_test_metrics_are_the_members_own():
    data = images()
    task = supervised(data=lambda: Data(data.train, data.validation, lambda: data.validation))
    for told in Pack(task, SCHEDULES, epochs=2, seed=1, device="cpu").run():
        for progress in told.values():
            tested = {name.replace("test_", "val_"): v for name, v in progress.test().items()}
            assert tested == pytest.approx({name: progress.metrics[name] for name in tested})


@pytest.mark.slow
def test_in_single_precision_accuracies_agree_within_seed_noise(small_data):
    from lrsearch.tasks.fashion_mnist import task as fashion_mnist

    torch.set_default_dtype(torch.float32)
    task = fashion_mnist(epochs=2, batch_size=20, data_dir=str(small_data))
    schedules = [Schedule(Cosine(), 1e-3 * 100 ** (k / 31)) for k in range(32)]

    def last(run):
        (*_, progress) = run
        return progress.metrics["val_accuracy"]

    by_itself = {
        seed: [last(task.run(s, epochs=2, seed=seed, device="cpu")) for s in schedules]
        for seed in (1, 2)
    }
    together = [last(p for p, _ in member) for member in packed(task, schedules, 2)]

    def distance(accuracies):
        pairs = zip(accuracies, by_itself[1], strict=True)
        return sum(abs(a - b) for a, b in pairs) / len(schedules)

    assert distance(together) < 0.2 * distance(by_itself[2])


@pytest.mark.parametrize("optimizer", ["momentum", "nadam"])
def test_what_a_graph_tries_before_it_is_captured_leaves_no_trace(optimizer, monkeypatch):
    class Trying:
        def record(self, works):
            for work in works:
                before = [tensor.clone() for tensor in work.written]
                for _ in range(STEPS + 3):
                    work.do()
                for tensor, value in zip(work.written, before, strict=True):
                    tensor.copy_(value)
            return [work.do for work in works]

    task = supervised(normed_cnn, optimizer=optimizer)
    plain = [numbers(member) for member in packed(task, SCHEDULES)]
    monkeypatch.setattr(stacks, "recorder", lambda device: Trying())
    assert [numbers(member) for member in packed(task, SCHEDULES)] == plain


# Who is in a pack


def test_a_member_that_diverges_changes_nothing_for_the_others():
    task = supervised(cnn, loss=lambda o, t: nn.functional.cross_entropy(o**3, t))
    diverging = Schedule(Constant(), 0.5, Warmup("linear", 0.9))
    calm = packed(task, SCHEDULES)
    mixed = packed(task, [SCHEDULES[0], diverging, SCHEDULES[2]])
    assert_same(mixed[1], alone(task, diverging))
    assert mixed[1][-1][0].diverged
    assert math.isnan(mixed[1][-1][0].metrics["train_loss"])
    together = len(mixed[1])
    assert 1 < together < EPOCHS
    for member in (0, 2):
        assert numbers(mixed[member])[:together] == numbers(calm[member])[:together]
        assert_same(mixed[member], calm[member])  # two are rounded otherwise than three


def test_a_member_whose_validation_is_not_finite_is_told_of_once():
    train, (inputs, targets) = images().train, images().validation
    task = supervised(data=lambda: Data(train, (inputs / 0, targets)))
    (only,) = Pack(task, SCHEDULES, epochs=EPOCHS, seed=1, device="cpu").run()
    assert all(progress.diverged for progress in only.values())


def test_members_may_be_dropped_and_cost_nothing_from_then_on():
    task = supervised(cnn)
    pack = Pack(task, [*SCHEDULES, *SCHEDULES], epochs=EPOCHS, seed=1, device="cpu")
    plan = {1: [0, 1, 4, 5], 2: [4, 1], 4: []}
    seen, rows = {number: [] for number in range(6)}, []
    for epoch, told in enumerate(pack.run(), 1):
        rows.append(len(pack._stack.weights))
        pack.keep(plan.get(epoch, pack.members))
        for number, progress in told.items():  # what is dropped can still be captured
            seen[number].append((progress, kept(progress)))
    assert rows == [6, 4, 2, 2]
    assert [len(seen[number]) for number in range(6)] == [2, 4, 1, 1, 4, 2]
    for number, member in seen.items():
        assert_same(member, alone(task, SCHEDULES[number % 3])[: len(member)])


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_run_goes_on_alone_or_in_another_pack(optimizer):
    task = supervised(normed_cnn, optimizer=optimizer)
    single, together = [alone(task, s) for s in SCHEDULES], packed(task, SCHEDULES)
    by_turns = [member[1][1] for member in (together[0], single[1], together[2])]
    for number, member in enumerate(packed(task, SCHEDULES, states=by_turns)):
        assert_same(member, single[number][2:])
        assert_same(alone(task, SCHEDULES[number], state=by_turns[number]), single[number][2:])
    # in the same pack to the last bit
    again = packed(task, SCHEDULES, states=[member[1][1] for member in together])
    assert [numbers(member) for member in again] == [numbers(member[2:]) for member in together]


def test_a_pack_that_has_ended_holds_no_memory_though_its_progress_is_kept():
    gc.disable()  # what is freed must not wait for it: graphs would die while others are captured
    try:
        pack = Pack(supervised(), SCHEDULES, epochs=2, seed=1, device="cpu")
        weights = weakref.ref(pack._stack.weights)
        last = list(pack.run())
        assert weights() is None
        stack = weakref.ref(Pack(supervised(), SCHEDULES, epochs=2, seed=1, device="cpu")._stack)
        assert stack() is None
    finally:
        gc.enable()
    assert len(last) == 2


def test_the_members_of_a_pack_are_at_one_epoch():
    task = supervised()
    states = [kept for _, kept in alone(task, SCHEDULES[0])[:2]]
    with pytest.raises(ValueError, match=r"at one epoch, but are at \[1, 2\]"):
        Pack(task, SCHEDULES[:2], epochs=EPOCHS, seed=1, device="cpu", states=states)


# Dropout


def test_every_member_draws_its_own_and_a_seed_decides_all():
    task = supervised(dropping_mlp)
    copies = packed(task, [SCHEDULES[0]] * 3)
    assert len({member[0][0].metrics["train_loss"] for member in copies}) == 3
    assert [numbers(m) for m in packed(task, [SCHEDULES[0]] * 3)] == [numbers(m) for m in copies]
    states = [member[1][1] for member in copies]
    on = packed(task, [SCHEDULES[0]] * 3, states=states)
    assert [numbers(member) for member in on] == [numbers(member[2:]) for member in copies]


def test_draws_do_not_depend_on_who_else_is_in_the_pack():
    task = supervised(dropping_mlp)
    diverging = Schedule(Constant(), 1e300)
    beside = packed(task, [SCHEDULES[0], diverging, SCHEDULES[2]])
    assert len(beside[1]) == 1
    assert_same(packed(task, [SCHEDULES[2]])[0], beside[2])
    others = packed(task, [SCHEDULES[1], SCHEDULES[0]])
    assert_same(others[1], beside[0])
    on = packed(task, [SCHEDULES[2], SCHEDULES[0]], states=[beside[2][1][1], others[1][1][1]])
    assert_same(on[0], beside[2][2:])
    assert_same(on[1], beside[0][2:])


# What cannot train in a pack


class Peeking(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(64, 4)

    def forward(self, inputs):
        outputs = self.linear(inputs.flatten(1))
        return outputs if outputs.sum().item() > 0 else outputs * 2


def of_two_types():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 4), Cast(), nn.Linear(4, 4).float())


class Cast(nn.Module):
    def forward(self, inputs):
        return inputs.float()


class Looped(Supervised):
    def run(self, schedule, *, epochs, seed, device, state=None):
        yield from super().run(schedule, epochs=epochs, seed=seed, device=device, state=state)


CANNOT = {
    "network": (supervised(Peeking), "torch.func cannot batch the network, the loss or a metric: "),
    "metric": (
        supervised(metrics={"hits": lambda o, t: torch.tensor((o.argmax(1) == t).sum().item())}),
        "torch.func cannot batch the network, the loss or a metric: ",
    ),
    "types": (supervised(of_two_types), "weights are of several types"),
    "optimizer": (
        supervised(optimizer=lambda network: torch.optim.SGD(network.parameters())),
        "the optimizer is one of the task's own",
    ),
    "differentiable": (
        supervised(optimizer={"name": "adam", "differentiable": True}),
        "Adam with its options cannot train several networks at once; train its trials alone",
    ),
    "loop": (Looped(mlp, images), "the task has a training loop of its own"),
}


@pytest.mark.parametrize(("task", "said"), CANNOT.values(), ids=CANNOT)
def test_what_cannot_train_in_a_pack_says_why(task, said):
    assert said in packing_obstacle(task)


def test_a_pack_refuses_an_optimizer_that_is_none_of_ours():
    task = supervised(optimizer=lambda network: torch.optim.Adagrad(network.parameters()))
    with pytest.raises(TaskError, match="Adagrad with its options cannot train several"):
        Pack(task, SCHEDULES, epochs=EPOCHS, seed=1, device="cpu")


# On a GPU


@pytest.mark.parametrize("model", [mlp, cnn, normed_cnn, dropping_mlp])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_an_update_reads_nothing_back_from_a_device(optimizer, model, monkeypatch):
    """Where there is no GPU torch can tell of every tensor where it would be, and what would wait.

    It has no backward pass then; the weights stand for their gradients.
    """

    def without_backward(loss, has_aux):
        return lambda row, *others: (row.clone(), loss(row, *others))

    monkeypatch.setattr(stacks, "grad_and_value", without_backward)
    monkeypatch.setattr(stacks, "recorder", lambda device: None)
    monkeypatch.setattr(Training, "trained", lambda self: dict(self.network.named_parameters()))
    monkeypatch.setattr(nn.Module, "to", lambda self, *args, **options: self)
    task = supervised(model, optimizer=optimizer, clip_norm=1.0)
    with FakeTensorMode(allow_non_fake_inputs=True):
        try:
            torch.zeros(2, device="cuda")[:1]
        except RuntimeError:
            pytest.skip("this torch, an older one, needs a GPU to tell where a tensor would be")
        with torch.device("cuda"):  # networks cannot be moved there
            training = task.start(seed=0, device="cuda", lr=0.1)
        stack = stacks.Stack(training, task.named_metrics("val"), members=3, steps=STEPS)
        for rows in ([0, 2], [1]):
            stack.update(2)
            stack.evaluate()
            stack.keep(rows)
        tensors = [stack.weights, stack.record, stack._sums, *stack.state.values()]
        assert {tensor.device for tensor in tensors} == {torch.device("cuda:0")}
        with pytest.raises(DataDependentOutputException):
            stack.weights.sum().item()


@pytest.fixture
def gpu():
    """Compute as workers do."""
    if not torch.cuda.is_available():
        pytest.skip("torch sees no GPU")
    torch.use_deterministic_algorithms(True, warn_only=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is not deterministic
        yield "cuda"
    torch.use_deterministic_algorithms(False)


@pytest.mark.gpu
@pytest.mark.parametrize("model", [mlp, cnn, normed_cnn])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_graph_has_the_numbers_of_runs_alone(optimizer, model, gpu):
    task = supervised(model, optimizer=optimizer, clip_norm=1.0)
    together = packed(task, SCHEDULES, device=gpu)
    assert_same(packed(task, SCHEDULES[:1], device=gpu)[0], together[0], tolerance=1e-8)
    for member, schedule in zip(together, SCHEDULES, strict=True):
        assert_same(member, alone(task, schedule, device=gpu), tolerance=1e-8)


@pytest.mark.gpu
def test_a_graph_draws_dropout_anew_in_every_update(gpu):
    task = supervised(dropping_mlp)
    nothing = Schedule(Constant(), 1e-300)
    together = packed(task, [nothing] * 3, device=gpu)
    losses = {m["train_loss"] for member in together for m in (p.metrics for p, _ in member)}
    assert len(losses) == 3 * EPOCHS
    again = packed(task, [nothing] * 3, device=gpu)
    assert [numbers(member) for member in again] == [numbers(member) for member in together]


@pytest.mark.gpu
def test_updates_do_not_wait_for_the_device(gpu):
    pack = Pack(supervised(cnn), SCHEDULES, epochs=EPOCHS, seed=1, device=gpu)
    torch.cuda.set_sync_debug_mode("error")
    try:
        pack._stack.update(STEPS)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
def test_members_dropped_on_a_gpu_give_back_their_part(gpu):
    task = supervised(cnn)
    pack = Pack(task, SCHEDULES, epochs=EPOCHS, seed=1, device=gpu)
    member = []
    for told in pack.run():
        member.append((told[1], kept(told[1])))
        pack.keep([1])
    assert_same(member, alone(task, SCHEDULES[1], device=gpu), tolerance=1e-8)


@pytest.mark.gpu
def test_what_cannot_be_captured_says_why(gpu):
    class Fetching(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(64, 4)

        def forward(self, inputs):
            return self.linear(inputs.flatten(1)) * torch.tensor(2.0).to(inputs.device)

    with pytest.raises(
        TaskError, match=r"cannot be captured in a CUDA graph: .*; train its trials"
    ):
        Pack(supervised(Fetching), SCHEDULES, epochs=EPOCHS, seed=1, device=gpu)
