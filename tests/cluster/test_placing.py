"""Where workers are placed: options, what is refused, how many a Ray cluster is asked for."""

import sys
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from lrsearch import open_storage
from lrsearch.cli import app
from lrsearch.cluster import RayPlacement, ray_placement
from lrsearch.errors import PlacementError


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--jobs", "2"], "--jobs is for SLURM; add --on slurm"),
        (["--on", "ray", "--partition", "x"], "--partition is for SLURM"),
        (["--gpus-per-trial", "0.5"], "--gpus-per-trial 0.5 is for --on ray"),
        (["--on", "slurm", "--gpus", "1", "--device", "cpu"], "--device cpu does not go with 1"),
        (
            ["--on", "slurm", "--gpus", "4", "--gpus-per-trial", "2"],
            "--gpus 4 does not go with --gpus-per-trial 2",
        ),
        (["--on", "ray", "--gpus-per-trial", "1.5"], "a whole number of GPUs or a fraction of one"),
    ],
    ids=str,
)
@pytest.mark.parametrize("command", ["resume", "confirm"])
def test_options_that_do_not_go_together_are_refused(command, options, said):
    done = CliRunner().invoke(app, [command, *options])
    assert isinstance(done.exception, PlacementError)
    assert said in str(done.exception)


@pytest.mark.parametrize("command", ["launch", "resume", "confirm", "compare"])
def test_every_command_that_starts_workers_can_have_them_placed(command):
    said = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).output
    for option in ("--on", "--address", "--gpus-per-trial", "--partition", "--gpus", "--jobs"):
        assert option in said


@pytest.mark.parametrize(
    ("on", "package", "extra"), [("ray", "ray", "ray"), ("slurm", "submitit", "slurm")]
)
def test_without_the_library_it_is_said_what_to_install(on, package, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    done = CliRunner().invoke(app, ["resume", "--on", on])
    assert isinstance(done.exception, PlacementError)
    assert str(done.exception).endswith(f"pip install 'lrsearch[{extra}]'")
    assert "\n" not in str(done.exception)


def test_a_ray_cluster_that_is_not_there_is_named_at_once(port, monkeypatch):
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    done = CliRunner().invoke(app, ["resume", "--on", "ray", "--address", f"127.0.0.1:{port}"])
    assert f"the Ray cluster at '127.0.0.1:{port}' does not answer:" in str(done.exception)


class Cluster:
    """What a placement asks of Ray."""

    def __init__(self, **nodes):
        self.of = nodes
        self.free = 0.0

    def init(self, **options):
        self.options = options

    def nodes(self):
        return [
            {"NodeID": name, "NodeManagerAddress": name, "Alive": True, "Resources": has}
            for name, has in self.of.items()
        ]

    def cluster_resources(self):
        return {"GPU": sum(has.get("GPU", 0.0) for has in self.of.values())}

    def available_resources(self):
        return {"GPU": self.free, "CPU": self.free}

    def get_runtime_context(self):
        return SimpleNamespace(get_node_id=lambda: "here")


@pytest.fixture
def cluster(monkeypatch):
    for name in ("RAY_USAGE_STATS_ENABLED", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"):
        monkeypatch.setenv(name, "0")
    made = Cluster(here={"CPU": 4.0})
    monkeypatch.setattr(ray_placement, "load_ray", lambda: made)
    return made


def test_ray_is_asked_for_one_worker_more_than_there_is_room_for_while_trials_are_left(
    place, cluster
):
    study = place.create("trouble:Fake", trials=9)
    cluster.of = {"here": {"CPU": 4.0, "GPU": 2.0}}
    cluster.free = 2.0
    assert RayPlacement().wanted(study) == 3  # GPUs come first
    assert RayPlacement(workers=2).wanted(study) == 2
    assert RayPlacement(per_worker=0.3).wanted(study) == 7  # three on each of two
    assert RayPlacement(per_worker=2).wanted(study) == 2
    assert RayPlacement(per_worker=2).slot.device == "cuda:0,cuda:1"
    cluster.free = 1.0  # somebody else's work
    assert RayPlacement().wanted(study) == 2
    cluster.free = 4.0
    assert RayPlacement(device="cpu").wanted(study) == 5
    study.set_target(3)
    assert RayPlacement(device="cpu").wanted(study) == 3
    assert cluster.options["include_dashboard"] is False


def test_storages_that_other_nodes_do_not_reach_are_refused(place, cluster):
    study = place.create("trouble:Fake", trials=9)
    cluster.of["there"] = {"CPU": 4.0}
    cluster.free = 8.0
    with pytest.raises(PlacementError, match=r"SQLite file.*has 2 nodes; `lrsearch serve --host"):
        RayPlacement().wanted(study)
    there = cluster.of.pop("there")
    placement = RayPlacement()
    assert placement.wanted(study) == 5
    cluster.of["there"] = there  # it joins later: the file is worked on by this node alone
    assert placement.wanted(study) == 5


@pytest.mark.slow
@pytest.mark.parametrize("storage_url", ["postgresql"], indirect=True)
def test_a_server_that_only_this_machine_reaches_is_refused_too(storage_url, place, cluster):
    place.url = storage_url
    study = place.create("trouble:Fake", trials=9)
    assert open_storage(storage_url).of_this_machine
    cluster.of["there"] = {"CPU": 4.0}
    with pytest.raises(PlacementError, match="under which the Ray cluster's other nodes"):
        RayPlacement().wanted(study)
