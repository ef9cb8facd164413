"""FashionMNIST: the split, where the data comes from, and what is told when it does not."""

import io
import shutil
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from platformdirs import user_cache_path

from lrsearch.errors import DataError, TaskError
from lrsearch.schedules import OneCycle, Schedule
from lrsearch.tasks.fashion_mnist import data_folder, lenet, load, task

IMAGES = "FashionMNIST/raw/train-images-idx3-ubyte"


def sizes(data):
    return [len(part) for part in (*data.train, *data.validation)]


# The task


def test_lenet_has_its_61706_parameters():
    network = lenet()
    assert sum(parameter.numel() for parameter in network.parameters()) == 61_706
    assert network(torch.zeros(3, 1, 28, 28)).shape == (3, 10)


def test_it_learns(small_data):
    made = task(data_dir=str(small_data), batch_size=32, epochs=3, optimizer="adam")
    (*_, last) = made.run(Schedule(OneCycle(), 0.01), epochs=3, seed=0, device="cpu")
    assert last.metrics["val_accuracy"] > 0.9


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"model": "lennet"}, "task.model is 'lennet'; did you mean 'lenet'?"),
        ({"model": "resnet"}, "or your own as module:factory"),
        ({"model": "lrsearch.tasks.fashion_mnist:alexnet"}, "has no 'alexnet'"),
        ({"model": "lrsearch.tasks.fashion_mnist:MODELS"}, "must be a callable"),
        ({"subset": 4}, "task.subset must be a whole number from 5, but got 4"),
        ({"subset": 0.5}, "but got 0.5"),
        ({"subset": True}, "but got True"),
        ({"validate_on": "tset"}, 'must be "held_out" or "test", but got \'tset\''),
        ({"validate_on": "test", "subset": 50}, "choose one"),
        ({"drop_last": 1}, "task.drop_last must be true or false, but got 1"),
        ({"epochs": 0}, "task.epochs"),
        ({"optimizer": "adamm"}, "did you mean 'adam'?"),
    ],
)
def test_a_mistake_is_told_before_any_data_is_read(options, said, tmp_path):
    with pytest.raises(TaskError) as error:
        task(data_dir=str(tmp_path / "nothing"), **options)
    assert said in str(error.value)


def test_a_model_of_ones_own(small_data, tmp_path, monkeypatch):
    (tmp_path / "my_models.py").write_text(
        "from torch import nn\n"
        "def linear():\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    made = task(model="my_models:linear", data_dir=str(small_data))
    progress = next(made.run(Schedule(OneCycle(), 0.1), epochs=1, seed=0, device="cpu"))
    assert set(progress.capture()["network"]) == {"1.weight", "1.bias"}


# The data


def test_five_sixths_train_and_one_sixth_validates(small_data):
    data = load(small_data)
    assert sizes(data) == [1000, 1000, 200, 200]
    assert data.train[0].shape[1:] == (1, 28, 28)
    assert data.train[0].dtype == torch.uint8
    assert task(data_dir=str(small_data), batch_size=64).steps_per_epoch == 1000 // 64


def test_textbooks_train_on_all_images_and_validate_on_the_test_images(small_data):
    held_out, textbook = load(small_data), load(small_data, None, True)
    every = torch.cat([held_out.train[0], held_out.validation[0]])
    assert torch.equal(textbook.train[0], every)
    assert held_out.test is not None
    for theirs, ours in zip(textbook.validation, held_out.test(), strict=True):
        assert torch.equal(theirs, ours)
    assert textbook.test is None  # no image is left to test a choice on


@pytest.mark.parametrize("subset", [5, 333, 1000])
def test_a_subset_is_the_beginning_of_both_parts(small_data, subset):
    whole, part = load(small_data), load(small_data, subset)
    assert sizes(part) == [subset, subset, subset // 5, subset // 5]
    for few, all_of_them in zip(
        (*part.train, *part.validation), (*whole.train, *whole.validation), strict=True
    ):
        assert torch.equal(few, all_of_them[: len(few)])


def test_a_subset_beyond_the_data_is_refused(small_data):
    with pytest.raises(TaskError, match="at most 1000 images, but got 1001"):
        _ = task(data_dir=str(small_data), subset=1001).steps_per_epoch


def test_the_option_comes_before_the_environment_and_both_before_the_cache(monkeypatch):
    monkeypatch.setenv("LRSEARCH_DATA_DIR", "/in/the/environment")
    assert data_folder("~/given") == Path.home() / "given"
    assert data_folder() == Path("/in/the/environment")
    monkeypatch.delenv("LRSEARCH_DATA_DIR")
    assert data_folder() == user_cache_path("lrsearch") / "data"


# Data that is not there. Whatever torchvision asks of the network fails, at once.


class Garbage(io.BytesIO):
    """A mirror's answer that is not what was asked for."""

    url, length = None, 7


@pytest.fixture(params=["offline", "garbage"])
def _bad_network(request, monkeypatch):
    def urlopen(*args, **kwargs):
        if request.param == "offline":
            raise URLError("no route to host")
        return Garbage(b"garbage")

    monkeypatch.setattr("urllib.request.urlopen", urlopen)


def told(root):
    """Return the error where the data under `root` is loaded: one line with the way out."""
    with pytest.raises(DataError) as error:
        _ = task(data_dir=str(root)).steps_per_epoch
    message = str(error.value)
    assert message.startswith(f"FashionMNIST in {root} is missing or corrupt")
    assert "put its four archives into FashionMNIST/raw there" in message
    assert "task.data_dir or LRSEARCH_DATA_DIR" in message
    assert "\n" not in message
    assert ": ;" not in message  # torchvision's reason, or at least its error's name
    return message


@pytest.mark.usefixtures("_bad_network")
class TestMissing:
    def test_a_folder_with_nothing_in_it(self, tmp_path, request):
        reason = "no route to host" if "offline" in request.node.name else "not found or corrupted"
        assert reason in told(tmp_path / "data")

    def test_a_folder_that_cannot_be_made(self, tmp_path):
        (tmp_path / "file").touch()
        assert "Not a directory" in told(tmp_path / "file" / "data")

    def test_an_archive_cut_short(self, tmp_path):
        archive = tmp_path / f"{IMAGES}.gz"
        archive.parent.mkdir(parents=True)
        archive.write_bytes(b"\x1f\x8b\x08cut short")
        told(tmp_path)

    def test_the_four_archives_are_all_it_needs(self, real_data, tmp_path):
        raw = tmp_path / "FashionMNIST" / "raw"
        raw.mkdir(parents=True)
        for archive in (Path(real_data) / "FashionMNIST" / "raw").glob("*.gz"):
            shutil.copy(archive, raw)
        assert sizes(load(tmp_path)) == [50_000, 50_000, 10_000, 10_000]


def header(kind, dimensions=3):
    return bytes([0, 0, kind, dimensions]) + (1200).to_bytes(4, "big") + bytes([0, 0, 0, 28] * 2)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(header(8), id="header-only"),
        pytest.param(header(8) + bytes(1000), id="cut-short"),
        pytest.param(bytes(1000), id="no-header"),
        pytest.param(header(9) + bytes(1200 * 784), id="signed-bytes"),
        pytest.param(header(10) + bytes(1200 * 784), id="unknown-type"),
        pytest.param(header(8, 1) + bytes(1200), id="labels-in-its-place"),
    ],
)
def test_a_damaged_file_is_told(small_data, tmp_path, content):
    shutil.copytree(small_data, tmp_path, dirs_exist_ok=True)
    (tmp_path / IMAGES).write_bytes(content)
    told(tmp_path)


def test_fewer_labels_than_images_are_told(small_data, tmp_path):
    shutil.copytree(small_data, tmp_path, dirs_exist_ok=True)
    labels = tmp_path / "FashionMNIST/raw/train-labels-idx1-ubyte"
    labels.write_bytes(labels.read_bytes()[:4] + (1100).to_bytes(4, "big") + bytes(1100))
    with pytest.raises(DataError, match=r"validation data .* has 200 and 100"):
        load(tmp_path)


# The real one


def test_the_real_data_is_fashion_mnist(real_data):
    data = load(Path(real_data))
    assert sizes(data) == [50_000, 50_000, 10_000, 10_000]
    images, labels = (torch.cat(parts) for parts in zip(data.train, data.validation, strict=True))
    assert labels.bincount().tolist() == [6000] * 10
    assert labels[:10].tolist() == [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]
    pixels = images.double() / 255
    assert float(pixels.mean()) == pytest.approx(0.2860, abs=5e-5)  # as everyone normalises it
    assert float(pixels.std()) == pytest.approx(0.3530, abs=5e-5)


def test_one_epoch_on_a_tenth_of_the_real_data_learns(real_data):
    made = task(data_dir=real_data, subset=5000, batch_size=32, optimizer="adam")
    (progress,) = made.run(Schedule(OneCycle(), 0.01), epochs=1, seed=0, device="cpu")
    assert progress.metrics["val_accuracy"] > 0.5
