"""Workers that a Ray cluster places: nodes go and come, the driver dies, the study is as ever."""

import os
import signal
import sys
from pathlib import Path

import pytest
from sqlalchemy import func, select

from lrsearch.cluster import Server
from lrsearch.storage import count_finished_trials
from lrsearch.storage.tables import metrics, workers
from lrsearch.worker import work
from tests.worker.place import lives, outcome, worker_pids

pytestmark = pytest.mark.slow

TRIALS = 30
EPOCHS = 4


def create(place):
    return place.create(
        "trouble:Lucky",
        trials=TRIALS,
        task={"seconds": 0.02},
        sampler={"kind": "random"},
        workers={"lease": 5.0},
    )


def finished(study):
    return count_finished_trials(study.storage, study.study_id)


@pytest.mark.parametrize("storage_url", ["postgresql"], indirect=True)
def test_nodes_go_and_come_and_the_driver_dies_and_the_study_is_as_if_nothing_had_happened(
    storage_url, place, ray_nodes
):
    place.url = storage_url
    study = create(place)
    cluster = ("--on", "ray", "--address", ray_nodes.address)
    driver = place.start("launch", "study.toml", *cluster)
    place.wait_for(lambda: finished(study) >= 10, "ten trials")
    place.hold()
    first = {place.wait_until_held() for _ in range(3)}  # a worker on each node, with a trial
    ray_nodes.kill(1)
    place.wait_for(lambda: sum(map(lives, first)) == 2, "the end of a node's worker")
    place.wait_for(
        lambda: "2 running on 2 nodes, 1 waiting for 1 CPU" in place.said(driver),
        "a worker that is to be started again",
    )
    place.wait_for(
        lambda: "{'CPU': 1.0}: 1+ pending" in ray_nodes.status(), "what an autoscaler would see"
    )
    ray_nodes.add()
    fourth = place.wait_until_held()  # on the new node, with the lost worker's trial or a new one
    driver.kill()
    place.wait_for_death(*first, fourth)  # they leave: what started them is gone
    place.let_go()
    assert finished(study) < TRIALS
    driver = place.start("resume", *cluster)
    assert place.end(driver) == 0, place.logs()

    assert f"{TRIALS}/{TRIALS} finished" in place.said(driver)
    assert [trial.number for trial in study.optuna.get_trials()] == list(range(TRIALS))
    assert len(worker_pids(study)) == len(set(worker_pids(study))) >= 7
    with study.storage.reading() as connection:  # every epoch once, also of trials taken over
        trained = connection.execute(select(func.sum(workers.c.epochs))).scalar_one()
        kept = connection.execute(select(func.count()).select_from(metrics)).scalar_one()
    assert trained == kept == TRIALS * EPOCHS
    logs = [path.read_text() for path in (study.files / "logs").iterdir()]
    assert sum("leaving: the budget is used up" in text for text in logs) == 3
    assert "Traceback" not in "".join(logs)

    undisturbed = create(place.elsewhere())
    work(f"sqlite:///{place.folder}/elsewhere/study.db", None, "cpu")
    assert outcome(study) == outcome(undisturbed)


PLACED = """
import sys
from lrsearch.cluster import RayPlacement, ray_placement
from lrsearch import open_storage, open_study

class Told(ray_placement.WorkerHost):
    def start(self, command, environment, folder):
        import os
        self.gpu = os.environ["CUDA_VISIBLE_DEVICES"]
        return "somewhere", 1
    def look(self):
        return None, f"{self.gpu}\\n".encode()

ray_placement.WorkerHost = Told
study = open_study(open_storage(sys.argv[2]))
placement = RayPlacement(sys.argv[1], workers=4, per_worker=0.5)
assert placement.wanted(study) == 3, "two on the GPU, and one more"
workers = placement.start(study, sys.argv[2], range(3))
while sum(worker.waiting for worker in workers) > 1:
    [worker.poll() for worker in workers]
print(placement.summary())
running = [worker for worker in workers if not worker.waiting]
while not all(worker.log.exists() and worker.log.read_text() for worker in running):
    [worker.poll() for worker in workers]
print({worker.log.read_text().split()[0] for worker in running})
placement.close()
"""


def test_parts_of_a_gpu_are_shared_and_a_password_goes_where_no_file_is_and_is_told_nobody(
    place, ray_nodes, folder, port, monkeypatch
):
    monkeypatch.setenv("LRSEARCH_FILES", str(place.folder / "files"))
    cluster = ("--on", "ray", "--address", ray_nodes.address)
    create(place)
    refused = place.start("launch", "study.toml", *cluster)
    assert place.end(refused) == 1
    assert "only the processes of one machine can share" in place.said(refused)
    assert "has 3 nodes; `lrsearch serve --host ADDRESS` runs a Postgre" in place.said(refused)

    with Server(folder / "server", port=port).running() as server:
        place.url = server.url()
        secret = server.passwords.read_text().strip().split(":")[-1]
        study = create(place)
        on_gpus = place.run(sys.executable, "-c", PLACED, ray_nodes.address, place.url)
        assert place.end(on_gpus) == 0, place.said(on_gpus)
        assert "Ray: 2 running on 3 nodes, 1 waiting for 0.5 GPU" in place.said(on_gpus)
        assert "{'0'}" in place.said(on_gpus)

        place.hold()
        driver = place.start("resume", *cluster, "--workers", "1")
        worker = place.wait_until_held()
        files = [*Path(os.environ["RAY_TMPDIR"]).rglob("*"), *study.files.rglob("*")]
        told = [*Path("/proc").glob("[0-9]*/cmdline"), *(path for path in files if path.is_file())]
        assert not [path for path in told if secret.encode() in read(path)]
        driver.send_signal(signal.SIGINT)
        assert place.end(driver) == 130
        place.wait_for_death(worker)
        assert secret not in place.logs()
        assert "handed back the trials" in place.logs()


def read(path):
    try:
        return path.read_bytes()
    except OSError:  # it has ended
        return b""
