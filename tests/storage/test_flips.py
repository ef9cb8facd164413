"""A byte that flips in any file of a study is noticed, or without effect; see the benchmark."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

SAMPLE = 100
"""Of some thousand; `python -m tests.benchmarks.flips` takes one in every block of every file."""


@pytest.mark.slow
def test_a_flipped_byte_is_noticed_or_without_effect_and_never_another_number_in_silence():
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.flips", "--sample", str(SAMPLE)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = re.search(
        r"^(\d+) bytes flipped, 0 neither noticed nor without effect$", done.stdout, re.M
    )
    assert said, done.stdout
    assert int(said[1]) >= SAMPLE // 2  # small files have fewer blocks than their share of it
    assert "checkpoint, worked on" in done.stdout
    assert "database, read" in done.stdout
