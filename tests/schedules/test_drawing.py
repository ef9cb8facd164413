"""Pictures of schedules: every line is the curve, by updates or by epochs."""

import numpy as np
import pytest

from lrsearch import cli
from lrsearch.export import Exported, load_run, to_json
from lrsearch.schedules import Clock, Cosine, OneCycle, Plateau, Schedule, Warmup, plot

ONE_CYCLE = Schedule(OneCycle(), 0.1)
LONGER = Schedule(Cosine(), 0.2, Warmup("linear", 0.1, prepend=True))


def test_lines_are_the_curves_over_each_other():
    clocks = {"a": Clock(300, 3), "b": Clock(300, 3).prepended(LONGER)}
    schedules = {"a": ONE_CYCLE, "b": LONGER}

    def drawn(by):
        return plot({n: clocks[n].line(s, by) for n, s in schedules.items()}, by).data

    rate, momentum, longer = drawn("updates")
    np.testing.assert_array_equal(rate.y, ONE_CYCLE.curve(300))
    assert list(momentum.y) == [ONE_CYCLE.momentum(step, 300) for step in range(300)]
    np.testing.assert_array_equal(longer.y, LONGER.curve(330))
    assert (longer.x[0], longer.x[-1]) == (0, 329)
    longer = drawn("epochs")[-1]
    assert longer.x[0] == pytest.approx(-0.3)  # the warmup lies before the run
    assert longer.x[30] == 0


def test_a_schedule_that_reads_losses_is_drawn_as_it_came_out():
    schedule = Schedule(Plateau(patience=0), 0.1)
    clock, losses = Clock(100, 10), [1.0] * 10
    (line,) = plot({"p": clock.line(schedule, "updates", losses)}).data
    np.testing.assert_array_equal(line.y, clock.curve(schedule, losses))
    assert len(set(line.y)) > 3


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run a command in an empty folder; return its exit status."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["lrsearch", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code or 0

    return run


def test_the_command_draws_files_trials_and_families(run, finished_study, tmp_path):
    storage = ("--storage", finished_study)
    assert run("export", *storage, "--trial", "0", "-o", "best.json") == 0
    named = ["cosine:base_lr=0.3,warmup=linear,warmup.fraction=0.2", "best.json", "0"]
    assert run("schedules", *named, "--plot", "all.html", "--epochs", "2", *storage) == 0
    page = (tmp_path / "all.html").read_text()
    assert all(f'"{name}"' in page for name in (*named[:2], "trial 0: one_cycle"))
    assert run("schedules", "cosine") == 1  # where to?
    assert run("schedules", "multistep:milestones=0.5/0.2", "--plot", "x.html") == 1
    assert not (tmp_path / "x.html").exists()


@pytest.mark.parametrize("lr_every", ["update", "epoch"])
@pytest.mark.parametrize("schedule", [ONE_CYCLE, LONGER], ids=["as it is", "prepended"])
def test_a_file_is_drawn_as_it_was_trained(run, schedule, lr_every, tmp_path, monkeypatch):
    """Also where the rate changes once an epoch, and after a warmup that is laid before the run."""
    clock = Clock(300, 10, lr_every).prepended(schedule)
    best = Exported(schedule, "first", 3, 0.9, clock, losses=())
    (tmp_path / "best.json").write_text(to_json(best))
    assert load_run(tmp_path / "best.json") == (schedule, clock)
    drawn = []
    monkeypatch.setattr("lrsearch.schedules.plot", lambda *what: drawn.append(what) or plot(*what))
    assert run("schedules", "best.json", "--plot", "a.html") == 0
    assert run("schedules", "best.json", "--plot", "b.html", "--epochs", "2") == 0
    for (lines, by), unit in zip(drawn, ("updates", "epochs"), strict=True):
        assert by == unit
        np.testing.assert_array_equal(lines["best.json"].x, clock.line(schedule, unit).x)
        np.testing.assert_array_equal(lines["best.json"].rates, clock.curve(schedule))
    if lr_every == "epoch":
        assert len(set(lines["best.json"].rates)) <= 11
