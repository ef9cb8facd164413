"""Workers that a Ray cluster places: nodes go and come, the driver dies, the study is as ever."""

import pytest
from sqlalchemy import func, select

from lrsearch.storage import count_finished_trials
from lrsearch.storage.tables import metrics, workers
from lrsearch.worker import work
from tests.worker.place import lives, outcome, worker_pids

pytestmark = pytest.mark.slow

TRIALS = 60
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
