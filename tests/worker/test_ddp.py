"""Workers whose trials several processes train: they live and die as one, and nothing is lost."""

import os
import signal

import pytest
from place import check_curves, spawned_by
from sqlalchemy import select

from lrsearch.errors import TaskError
from lrsearch.storage.tables import workers
from lrsearch.worker import RANK_LOST, work

TWO = ("--device", "cpu", "--gpus-per-trial", "2")


@pytest.mark.slow
def test_its_processes_end_with_each_other_and_the_trial_goes_on_with_the_same_numbers(
    place, exact
):
    """Killed (first one, then the other), and stopped by a SIGTERM, in the midst of an update."""
    study = place.create(
        "together:task", trials=1, study={"metric": "val_loss"}, workers={"lease": 5.0}
    )

    def held(rank):
        """Start a worker that is held in one of its two processes; return it, and both's ids."""
        hold = place.folder / f"hold-{rank}"
        hold.touch()
        worker = place.start("work", *TWO)
        pid = place.wait_until_held()
        (other,) = spawned_by(worker.pid)
        assert pid == (worker.pid, other)[rank]
        return worker, other, hold

    worker, other, hold = held(0)
    worker.kill()
    place.wait_for_death(worker.pid, other)
    hold.unlink()

    worker, other, hold = held(1)
    os.kill(other, signal.SIGKILL)
    assert place.end(worker) == RANK_LOST
    assert "process 1 of 2 was ended by SIGKILL" in place.said(worker)
    hold.unlink()

    worker, other, hold = held(0)
    study.set_stopping(True)
    assert place.end(worker) == 0
    place.wait_for_death(other)
    assert "handed back" in place.said(worker)
    hold.unlink()

    assert place.end(place.start("resume", "--workers", "1", *TWO)) == 0
    with study.storage.reading() as connection:  # each went on where the one before stood
        trained = connection.execute(select(workers.c.epochs).order_by(workers.c.started))
        assert trained.scalars().all() == [2, 2, 2, 2]
    assert study.record(0).finished
    assert "Traceback" not in place.logs()
    check_curves(study, "cpu,cpu")


def test_a_task_of_ones_own_is_told_all_devices_and_one_that_reads_one_is_refused(place):
    study = place.create("trouble:Several", trials=1)
    work(place.url, None, "cpu,cpu,cpu")
    assert study.record(0).value == 3.0
    other = place.elsewhere().create("trouble:Fake", trials=1)
    with pytest.raises(TaskError, match="cpu,cpu, and a Fake trains on one"):
        work(other.storage.url, None, "cpu,cpu")
    assert not other.optuna.trials
