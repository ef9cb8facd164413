"""A worker killed at any step leaves a study that the next one ends as if nothing had happened."""

import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import make_url

pytestmark = pytest.mark.slow

SAMPLE = {"sqlite": 50, "postgresql": 20}
"""Steps of some thousand; `python -m tests.benchmarks.kills` tries all."""


def test_whatever_step_a_worker_is_killed_at_nothing_is_lost_doubled_or_changed(storage_url):
    engine = make_url(storage_url).get_backend_name()
    command = ["-m", "tests.benchmarks.kills", "--only", engine, "--sample", str(SAMPLE[engine])]
    done = subprocess.run(
        [sys.executable, *command, "--server", storage_url],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"killed at {SAMPLE[engine]} of " in done.stdout
    assert ", 0 not survived" in done.stdout
