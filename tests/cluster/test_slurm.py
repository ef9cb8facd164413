"""Workers as SLURM jobs: by submitit's local executor, and what `sbatch` would be given."""

import os
import signal
import stat
import sys
from pathlib import Path

import pytest
from sqlalchemy import func, select
from typer.testing import CliRunner

from lrsearch.cli import app
from lrsearch.cluster import SlurmPlacement
from lrsearch.errors import PlacementError
from lrsearch.storage.tables import workers
from lrsearch.tasks import Slot
from lrsearch.worker import Processes, work
from tests.worker.place import lives, outcome, worker_pids

# what the command is by itself, with submitit's executor on this machine in place of SLURM's
PROGRAM = (
    "from lrsearch.cli import main; from lrsearch.cluster import slurm_placement; "
    "slurm_placement.CLUSTER = 'local'; main()"
)


def parent_of(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.mark.slow
def test_jobs_are_told_to_end_and_begin_again_and_are_cancelled_at_the_end(place):
    study = place.create("trouble:Lucky", trials=12, sampler={"kind": "random"})
    place.hold()
    options = ("--on", "slurm", "--jobs", "2")
    launcher = place.run(sys.executable, "-c", PROGRAM, "launch", "study.toml", *options)
    first, second = place.wait_until_held(), place.wait_until_held()
    for pid in (parent_of(first), first):  # SLURM signals all that runs in a job
        os.kill(pid, signal.SIGUSR2)
    place.wait_for_death(first)
    third = place.wait_until_held()  # the same job, begun again
    os.kill(third, signal.SIGKILL)  # a crash: another job in its place
    fourth = place.wait_until_held()
    assert "2 running" in place.said(launcher)
    launcher.send_signal(signal.SIGINT)
    assert place.end(launcher) == 130
    place.wait_for_death(second, fourth)
    assert "interrupted; unfinished trials are kept" in place.said(launcher)

    place.let_go()
    launcher = place.run(sys.executable, "-c", PROGRAM, "resume", *options)
    assert place.end(launcher) == 0, place.logs()
    with study.storage.reading() as connection:
        assert connection.execute(select(func.sum(workers.c.epochs))).scalar_one() == 12 * 4
    jobs = study.files / "logs" / "slurm"
    said = [path.read_text() for path in jobs.glob("*_log.out")]
    assert sum("Exiting after successful completion" in text for text in said) >= 2
    secret = str(study.storage.engine.url).encode()
    assert not any(secret in path.read_bytes() for path in jobs.glob("*.pkl"))

    undisturbed = place.elsewhere()
    other = undisturbed.create("trouble:Lucky", trials=12, sampler={"kind": "random"})
    work(undisturbed.url, None, "cpu")
    assert outcome(study) == outcome(other)
    assert not any(map(lives, worker_pids(study)))


def test_sbatch_is_given_a_preemptible_array_that_is_queued_again(tmp_path, monkeypatch):
    programs = {
        "sbatch": f'cp "$1" {tmp_path}/submitted; echo "Submitted batch job 77"',
        "srun": "true",
        "scancel": f'echo "$@" >> {tmp_path}/cancelled',
        "sacct": "echo 'JobID|State|NodeList'; for i in 0 1 2; do echo \"77_$i|PENDING|\"; done",
    }
    for name, does in programs.items():
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{does}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    study = Study(tmp_path)
    placement = SlurmPlacement(3, gpus=2, partition="night")
    url = "postgresql+psycopg://me:s3cr3t@db-host/lrsearch"
    jobs = placement.start(study, url, range(placement.wanted(study)))
    flags = {line for line in (tmp_path / "submitted").read_text().splitlines() if "SBATCH" in line}
    assert {
        "#SBATCH --partition=night",
        "#SBATCH --array=0-2%3",
        "#SBATCH --gpus-per-node=2",
        "#SBATCH --requeue",
        "#SBATCH --signal=USR2@90",
        "#SBATCH --open-mode=append",
    } <= flags
    assert "LRSEARCH_STORAGE" not in os.environ
    kept = [path for path in (tmp_path / "files").rglob("*") if path.is_file()]
    assert len(kept) >= 3
    assert not any(b"s3cr3t" in path.read_bytes() for path in [*kept, tmp_path / "submitted"])
    assert [job.poll() for job in jobs] == [None] * 3
    assert all(job.waiting for job in jobs)
    assert placement.summary() == "SLURM 77: 3 pending"
    placement.close()
    assert (tmp_path / "cancelled").read_text().split() == ["77_0", "77_1", "77_2"]
    assert placement.summary() == "SLURM 77: 3 ended"

    study.storage.of_this_machine = True
    with pytest.raises(PlacementError, match="SLURM's jobs run on others; `lrsearch serve"):
        placement.start(study, url, range(3))
    study.storage.of_this_machine = False
    (tmp_path / "sbatch").write_text("#!/bin/sh\necho 'invalid partition: night' >&2; exit 1\n")
    with pytest.raises(PlacementError, match=r"SLURM did not take the jobs: .*invalid partition"):
        placement.start(study, url, range(3))


class Study:
    """What a placement reads of a study."""

    name = "study"

    def __init__(self, folder):
        self.files = folder / "files"
        self.storage = type("Storage", (), {"of_this_machine": False})()


def test_where_there_is_no_slurm_that_is_said(tmp_path):
    with pytest.raises(PlacementError, match=r"SLURM did not take the jobs: .*srun"):
        SlurmPlacement(3).start(Study(tmp_path), "postgresql+psycopg://db-host/x", [0])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--jobs", "2"], "--jobs is for SLURM; add --on slurm"),
        (["--on", "ray", "--partition", "x"], "--partition is for SLURM"),
        (["--gpus-per-trial", "0.5"], "parts of a GPU are for --on ray"),
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


def test_workers_of_this_machine_need_neither():
    assert Processes([Slot("cpu", {}, "auto")]).wanted(Study(Path())) == 1
