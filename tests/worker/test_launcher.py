"""The launcher with workers that are none: how many there are, and which are started again."""

import signal

import pytest

from lrsearch.worker.launcher import Crew


class Worker:
    """A worker that does what the test says."""

    def __init__(self, log, waiting):
        self.log = log
        self.waiting = waiting
        self.process = None
        self.status = None
        self.sent = []

    def poll(self):
        return self.status

    def send(self, number):
        self.sent.append(number)
        if self.waiting:
            self.status = 0


class Room:
    """A placement with room for some workers: one more than that waits."""

    def __init__(self, folder, room):
        self.folder = folder
        self.room = room
        self.started = []

    def wanted(self, study):
        return self.room + 1

    def start(self, study, url, places):
        alive = sum(w.status is None and not w.waiting for w in self.started)
        workers = [Worker(self.folder / "log", alive + i >= self.room) for i in range(len(places))]
        self.started += workers
        return workers


@pytest.fixture
def crew(place):
    study = place.create("trouble:Fake", trials=8, workers={"max_restarts": 1})
    return Crew(study, place.url, Room(place.folder, room=2))


def test_as_many_as_there_is_room_for_and_one_more_that_waits(crew):
    started = crew.placement.started
    for _ in range(3):
        assert crew.supervise(leaving=False)
    assert [worker.waiting for worker in started] == [False, False, True]
    started[2].waiting = False  # a node has joined
    crew.placement.room = 3
    crew.supervise(leaving=False)
    assert [worker.waiting for worker in started] == [False, False, False, True]
    crew.placement.room = 2  # fewer are wanted: who waits is withdrawn, who runs runs on
    crew.supervise(leaving=False)
    assert [worker.sent for worker in started] == [[], [], [], [signal.SIGTERM]]
    assert len(started) == 4


def test_a_lost_worker_is_started_again_and_one_that_crashes_again_is_not(crew):
    started = crew.placement.started
    crew.supervise(leaving=False)
    started[0].status = -9
    crew.supervise(leaving=False)
    assert len(started) == 4
    started[3].status = 1
    for _ in range(3):
        assert crew.supervise(leaving=False)
    assert len(started) == 4
    assert [place.crashed for place in crew.places] == [True, False, False]


def test_once_a_worker_finds_nothing_left_no_more_begin_and_who_waits_is_withdrawn(crew):
    started = crew.placement.started
    crew.supervise(leaving=False)
    started[0].status = 0
    assert crew.supervise(leaving=False)
    assert started[2].sent == [signal.SIGTERM]
    started[1].status = 0
    assert not crew.supervise(leaving=False)
    assert len(started) == 3


def test_when_asked_to_leave_nobody_is_started_again(crew):
    started = crew.placement.started
    crew.supervise(leaving=False)
    crew.send(signal.SIGTERM)
    assert [worker.sent for worker in started] == [[signal.SIGTERM]] * 3
    started[0].status = started[1].status = -15
    assert not crew.supervise(leaving=True)
    assert len(started) == 3
