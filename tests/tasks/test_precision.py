"""Precision: what a task says holds in its passes, alone and packed, and nowhere else."""

import pytest
import torch
from torch import nn

from lrsearch.errors import TaskError
from lrsearch.schedules import Constant, Cosine, Schedule
from lrsearch.tasks import Data, Supervised
from lrsearch.tasks.packs import Pack, packing_obstacle
from lrsearch.tasks.precision import products

SCHEDULES = [Schedule(Constant(), 0.005), Schedule(Cosine(), 0.01)]


def images():
    inputs = torch.randn(120, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    targets = inputs.flatten(1)[:, :4].argmax(dim=1)
    return Data((inputs[:80], targets[:80]), (inputs[80:], targets[80:]))


def cnn():
    return nn.Sequential(nn.Conv2d(1, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(180, 4))


def trained(precision, schedule=SCHEDULES[0], **options):
    """Return the last progress of a run, and the state at its end."""
    task = Supervised(cnn, images, batch_size=8, epochs=3, precision=precision, **options)
    *_, last = task.run(schedule, epochs=3, seed=0, device="cpu")
    return last.metrics, last.capture()


def test_bf16_is_torchs_autocast_of_the_forward_pass():
    metrics, state = trained("bf16", optimizer="sgd")
    task = Supervised(cnn, images, batch_size=8, epochs=3, optimizer="sgd")
    training = task.start(seed=0, device="cpu", lr=0.005)
    inputs, targets = training.data.train
    for epoch in range(3):
        for batch in training.order(epoch).split(8):
            with torch.autocast("cpu", torch.bfloat16):
                loss = training.loss(training.network(inputs[batch]), targets[batch])
            training.optimizer.zero_grad()
            loss.backward()
            training.optimizer.step()
    for name, weight in training.network.state_dict().items():
        assert torch.equal(state["network"][name], weight)
        assert weight.dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        expected = training.validate({"val_loss": training.loss})["val_loss"]
    assert metrics["val_loss"] == expected != trained("fp32", optimizer="sgd")[0]["val_loss"]


def test_tf32_is_fp32_on_a_cpu():
    assert trained("tf32")[0] == trained("fp32")[0]


@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_a_pack_has_the_precision_of_a_trial_alone(optimizer):
    options = {"optimizer": optimizer, "clip_norm": 1.0}
    task = Supervised(cnn, images, batch_size=8, epochs=3, precision="bf16", **options)
    assert packing_obstacle(task) is None
    *_, packed = Pack(task, SCHEDULES, epochs=3, seed=0, device="cpu").run()
    for number, schedule in enumerate(SCHEDULES):
        alone = trained("bf16", schedule, **options)[0]
        fp32 = trained("fp32", schedule, **options)[0]
        assert packed[number].metrics["train_loss"] == pytest.approx(alone["train_loss"], abs=0.01)
        assert packed[number].metrics["train_loss"] != pytest.approx(fp32["train_loss"], abs=1e-6)


def allowed():
    """Return what torch allows products in single precision on CUDA."""
    cublas, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    found = [cublas.allow_tf32, cudnn.allow_tf32, torch.get_float32_matmul_precision() == "high"]
    if hasattr(cudnn, "conv"):  # torch's newer switches
        found += [place.fp32_precision == "tf32" for place in (cublas, cudnn.conv, cudnn.rnn)]
    return found


def test_torchs_switches_are_as_before_after_a_pass():
    before = allowed()
    with products("tf32", torch.device("cuda")):
        assert all(allowed())
        with products("fp32", torch.device("cuda")):
            assert not any(allowed())
            with torch.backends.cudnn.flags(enabled=False):  # as some networks do
                pass
    assert allowed() == before


def test_an_unknown_precision_is_refused():
    with pytest.raises(TaskError, match=r"task.precision is 'tf23'; did you mean 'tf32'\?"):
        Supervised(cnn, images, precision="tf23")


@pytest.mark.gpu
def test_a_gpu_computes_as_precisely_as_the_task_says():
    if not torch.cuda.is_available():
        pytest.skip("torch sees no GPU")
    inputs = torch.randn(8, 64, 32, 32, device="cuda").to(memory_format=torch.channels_last)
    kernels = torch.randn(64, 64, 3, 3, device="cuda").to(memory_format=torch.channels_last)
    square = torch.randn(512, 512, device="cuda")

    def error(precision):
        with products(precision, square.device):
            found = square @ square, nn.functional.conv2d(inputs, kernels)
        exact = square.double() @ square.double()
        exact_conv = nn.functional.conv2d(inputs.double(), kernels.double())
        pairs = zip(found, (exact, exact_conv), strict=True)
        return [float((a - b).abs().max() / b.abs().max()) for a, b in pairs]

    assert max(error("fp32")) < 1e-5 < 1e-4 < min(error("tf32")) < max(error("tf32")) < 1e-2
