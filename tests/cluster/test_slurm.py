"""Workers as SLURM jobs: by submitit's local executor, and what `sbatch` would be given."""

import os
import signal
import stat
import sys
from pathlib import Path

import pytest
from sqlalchemy import func, select

from lrsearch.cluster import SlurmPlacement
from lrsearch.errors import PlacementError
from lrsearch.storage.tables import workers
from lrsearch.worker import work
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
