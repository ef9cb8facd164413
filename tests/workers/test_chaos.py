"""Real training while workers are killed and frozen all the time: the study ends as if they were not."""

import os
import random
import signal
import time

import pytest
from optuna.trial import TrialState
from place import check_curves, lives
from sqlalchemy import select

from lrsearch.storage.tables import workers

pytestmark = pytest.mark.slow

BUDGET = 40
KILLS = 30
EPOCHS = 8


class Chaos:
    """Kills workers that have got further since they began, and freezes others."""

    def __init__(self, place, study, seed=0):
        self.place = place
        self.study = study
        self.random = random.Random(seed)
        self.kills = 0
        self.frozen = set()

    def trained(self):
        """Return the epochs of every worker that lives, by its process."""
        with self.study.storage.reading() as connection:
            query = select(workers.c.pid, workers.c.epochs).where(workers.c.ended.is_(None))
            rows = connection.execute(query.where(workers.c.study_id == self.study.study_id)).all()
        return {row.pid: row.epochs for row in rows if lives(row.pid)}

    def kill_one(self):
        """Kill a worker that has trained an epoch nobody had trained before."""
        pid = self.place.wait_for(self.who_trained, "a worker that trains")
        os.kill(pid, signal.SIGKILL)
        self.kills += 1

    def who_trained(self):
        able = [pid for pid, epochs in self.trained().items() if epochs and pid not in self.frozen]
        return self.random.choice(able) if able else None

    def freeze_one(self):
        """Stop a worker, and let one go on that was stopped before."""
        for pid in self.frozen:
            os.kill(pid, signal.SIGCONT)
        able = sorted(self.trained().keys() - self.frozen)
        self.frozen = {self.random.choice(able)} if len(able) > 1 else set()
        for pid in self.frozen:
            os.kill(pid, signal.SIGSTOP)
