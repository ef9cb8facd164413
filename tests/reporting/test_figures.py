"""Every figure copes with every study; what it shows is what the study holds."""

import json
from dataclasses import replace
from itertools import combinations
from xml.etree import ElementTree

import numpy as np
import pytest
from optuna.trial import TrialState
from plotly.graph_objects import Figure

from lrsearch import LrsearchError, Schedule, families
from lrsearch.errors import TaskError
from lrsearch.reporting import FIGURES, StudyData, read_data, read_layout
from lrsearch.reporting.dashboard.picture import picture
from lrsearch.reporting.figures.style import LOOKS
from lrsearch.reporting.figures.training import training
from lrsearch.schedules import Clock, sketched
from lrsearch.search import rungs_of
from lrsearch.storage import RunEnd
from lrsearch.study.results import Divergence
from reporting.synthetic import EPOCHS, synthetic_data, synthetic_study

SCRIPT = "<script>alert(1)</script>"

STUDIES = {
    "no trial": {"trials": 0},
    "one trial": {"trials": 1},
    "one family": {"trials": 40, "families": ["cosine"]},
    "only diverged": {"trials": 12, "outcomes": ["diverged"]},
    "only untrained": {"trials": 12, "outcomes": ["failed to train"]},
    "every outcome": {"trials": 40, "outcomes": ["complete", "failed to train", "diverged"]},
    "only pruned": {"trials": 12, "outcomes": ["pruned"]},
    "only failed": {"trials": 3, "outcomes": ["failed"]},
    "minimised": {"trials": 30, "direction": "minimize", "metric": "val_loss"},
    "every family": {"trials": 150},
    "names": {"trials": 30, "name": SCRIPT, "metric": SCRIPT, "worker": SCRIPT},
}


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """Return what figures see of a study of `STUDIES`."""
    made: dict[str, StudyData] = {}

    def read(kind: str) -> StudyData:
        if kind not in made:
            path = tmp_path_factory.mktemp("study") / "study.db"
            made[kind] = read_data(synthetic_study(f"sqlite:///{path}", **STUDIES[kind]))
        return made[kind]

    return read


def points(figure: Figure) -> int:
    return sum(len(trace.x) for trace in figure.data)


def subtitle(figure: Figure) -> str:
    return figure.layout.title.subtitle.text.replace("<br>", " ")


def texts(value: object) -> list[str]:
    """Return every text in a figure's JSON form."""
    if isinstance(value, dict):
        return [text for inner in value.values() for text in texts(inner)]
    if isinstance(value, list):
        return [text for inner in value for text in texts(inner)]
    return [value] if isinstance(value, str) else []


@pytest.mark.parametrize("kind", STUDIES)
@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_copes_with_every_study(read, name, kind):
    figure = FIGURES[name](read(kind))
    assert figure.layout.title.text
    assert points(figure) or figure.layout.annotations  # it shows something, or says why not
    assert not [text for text in texts(json.loads(figure.to_json())) if "<script" in text]


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_shows_a_study_of_every_family(read, name):
    assert points(FIGURES[name](read("every family"))) > 0


def test_the_answer_draws_the_winner_and_the_best_of_each_family(read):
    data = read("every family")
    curve, *others = FIGURES["answer"](data).data
    assert data.answer is not None
    assert list(curve.y) == pytest.approx(data.answer.trial.curve()[1], rel=1e-3)
    means = {trace.y[0]: trace.x[0] for trace in others if len(trace.x) == 1}
    best = data.ranked[0]
    assert means[f"{best.family} #{best.number}"] == pytest.approx(best.mean)
    for name, mean in means.items():
        family = name.split(" #")[0]
        assert mean == max(t.mean for t in data.ranked if t.family == family)


def test_two_families_never_look_alike():
    assert list(LOOKS) == list(families)
    for one, other in combinations(LOOKS.values(), 2):
        assert (one.color, one.dash) != (other.color, other.dash)
        assert (one.color, one.pattern) != (other.color, other.pattern)
        assert one.symbol != other.symbol


def test_colours_can_be_seen_on_white_and_on_black():
    def luminance(color: str) -> float:
        parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))

    for look in LOOKS.values():
        light = luminance(look.color)
        assert 1.05 / (light + 0.05) >= 3  # WCAG's contrast for graphics
        assert (light + 0.05) / 0.05 >= 3


def test_winners_are_the_best_trials_with_the_best_on_top(read):
    data = read("every family")
    best = sorted(data.ranked, key=lambda trial: -trial.final_value)[:10]
    traces = FIGURES["winners"](data).data
    for trial, trace in zip(best, traces[::-1], strict=True):
        assert f"<b>trial {trial.number}</b>: {trial.family}" in trace.hovertemplate
    assert traces[-1].line.width > traces[0].line.width


def test_a_minimised_study_ranks_the_lowest_first(read):
    data = read("minimised")
    assert data.ranked[0].final_value == min(t.final_value for t in data.ranked)


def test_by_family_shows_each_ended_trial_once(read):
    data = read("every family")
    scatters = [t for t in FIGURES["by_family"](data).data if t.type == "scatter"]
    shown = sorted(int(number) for trace in scatters for number in trace.customdata)
    ended = ("complete", "pruned", "diverged")
    assert shown == [t.number for t in data.trials if t.outcome in ended]
    crossed = [n for t in scatters if t.marker.symbol == "x" for n in t.customdata]
    assert sorted(crossed) == [t.number for t in data.trials if t.diverged]


@pytest.mark.parametrize("name", ["by_family", "base_lr"])
def test_what_failed_to_train_is_told_apart_and_has_no_value(read, name):
    data = read("every outcome")
    figure = FIGURES[name](data)
    for symbol, outcome in (("cross", "failed to train"), ("x", "diverged")):
        traces = [t for t in figure.data if t.type == "scatter" and t.marker.symbol == symbol]
        shown = sorted(int(n) for t in traces for n in t.customdata)
        assert shown == [t.number for t in data.trials if t.outcome == outcome]
        assert shown
        assert all(f"{outcome}" in t.hovertemplate for t in traces)
    assert "failed to train" in figure.layout.title.subtitle.text.replace("<br>", " ")
    assert not [t for t in (*data.ranked, *data.valued) if t.failed_to_train]


def test_a_curve_that_failed_to_train_ends_in_a_cross_of_its_own(read):
    data = read("every outcome")
    drawn = FIGURES["epochs"](data)
    (crosses,) = [t for t in drawn.data if t.mode == "markers" and t.marker.symbol == "cross"]
    failed = [trial for trial in data.trials if trial.outcome == "failed to train"]
    assert list(crosses.customdata) == [trial.number for trial in failed]
    assert list(crosses.x) == [EPOCHS] * len(failed)
    assert "red +: failed to train" in subtitle(drawn)
    assert "failed to train" not in subtitle(FIGURES["epochs"](read("every family")))


@pytest.mark.parametrize(("base_lr", "said"), [(1.02e-4, "lower edge"), (0.98, "upper edge")])
def test_the_best_at_the_edge_of_the_domain_is_pointed_out(tmp_path, base_lr, said):
    data = read_data(synthetic_study(f"sqlite:///{tmp_path}/study.db", 20, families=["constant"]))
    assert "edge of the domain" not in subtitle(FIGURES["base_lr"](data))
    best = data.ranked[0]
    assert best.schedule
    moved = replace(best, schedule=replace(best.schedule, base_lr=base_lr))
    data = replace(data, trials=[moved if t is best else t for t in data.trials])
    assert said in subtitle(FIGURES["base_lr"](data))


def test_progress_counts_the_epochs_spent_and_saved(read):
    data = read("every family")
    spent = sum(len(trial.epochs) for trial in data.trials)
    unpruned = EPOCHS * sum(t.outcome in ("complete", "pruned", "diverged") for t in data.trials)
    figure = FIGURES["progress"](data)
    said = f"{spent} epochs spent, where one full run of each trial would have taken {unpruned} "
    assert said in subtitle(figure)
    full = next(trace for trace in figure.data if trace.name == "full runs")
    assert sorted(full.customdata) == sorted(trial.number for trial in data.ranked)
    line = next(trace for trace in figure.data if trace.name == "best mean so far")
    assert list(line.y) == sorted(line.y)
    assert line.x[-1] == spent
    assert line.y[-1] == pytest.approx(data.ranked[0].value)


def test_progress_falls_where_a_further_seed_corrects_the_best_and_leaves_out_the_diverged():
    values = {0: [0.2, 0.90, 0.70], 1: [0.1, 0.85, 0.83], 2: [0.3, 0.99]}
    rungs = rungs_of([1, EPOCHS], seeds=2)
    data = synthetic_data(3)
    trials = [
        replace(
            trial,
            rungs=rungs,
            final_value=None,
            state=TrialState.WAITING,
            diverged=Divergence(2, 1, 7, 0.1) if trial.number == 2 else None,
            reports={rung.step: v for rung, v in zip(rungs, values[trial.number], strict=False)},
        )
        for trial in data.trials
    ]
    order = [(0, 0), (1, 0), (2, 0), (2, 1), (0, 1), (1, 1), (0, 2), (1, 2)]
    ends = [RunEnd(trial, run, rungs[run].epochs) for trial, run in order]
    data = replace(data, rungs=rungs, trials=trials, run_ends=ends)
    figure = FIGURES["progress"](data)
    line = next(trace for trace in figure.data if trace.name == "best mean so far")
    spent = np.cumsum([rungs[run].epochs for _, run in order]).tolist()
    assert list(line.x) == [*spent[4:], spent[-1]]
    assert list(line.y) == pytest.approx([0.90, 0.90, 0.85, 0.84, 0.84])
    assert [trial.number for trial in data.ranked] == [1, 0]


def test_the_timeline_marks_a_hand_over(read):
    figure = FIGURES["timeline"](read("every family"))
    marks = next(trace for trace in figure.data if trace.name == "hand-over")
    assert set(marks.text) == {"trial 3"}
    assert sum(len(trace.x) for trace in figure.data if trace.type == "bar") >= 100


def test_importances_of_each_row_add_up_to_one(read):
    figure = FIGURES["importance"](read("one family"))
    assert sum(trace.x[0] for trace in figure.data) == pytest.approx(1, abs=0.01)
    assert any("base_lr" in trace.text for trace in figure.data)


def test_training_stops_a_diverged_curve_where_it_diverged(read):
    data = read("every family")
    number = next(trial.number for trial in data.trials if trial.diverged)
    figure = training(data, [number])
    curve = figure.data[0]
    assert max(curve.x) <= 7
    assert any(trace.name == "diverged" and trace.x[0] == 7 for trace in figure.data)


def test_epochs_of_a_large_study_are_a_part_and_say_so(read, monkeypatch):
    monkeypatch.setattr("lrsearch.reporting.figures.epochs._CURVES", 20)
    data = read("every family")
    figure = FIGURES["epochs"](data)
    assert "of 108 trials" in subtitle(figure)
    traces = [trace for trace in figure.data if trace.customdata is not None]
    numbers = {int(number) for trace in traces for number in trace.customdata}
    assert len(numbers) <= 20


@pytest.mark.parametrize("name", FIGURES)
def test_figures_of_two_thousand_trials_stay_small(name):
    """The dashboard sends all of them with every poll."""
    figure = FIGURES[name](synthetic_data(2000))
    assert points(figure)
    assert len(figure.to_json()) < 200_000


def test_a_curve_is_the_schedule_itself(read):
    for trial in read("every family").trials[:40]:
        steps, rates = trial.curve()
        assert (steps[0], steps[-1]) == (0, trial.total_steps - 1)
        losses = [row.metrics["val_loss"] for row in trial.epochs]
        whole = trial.schedule.curve(trial.total_steps, losses)
        assert rates == [whole[step] for step in steps]
        drawn = np.interp(range(trial.total_steps), steps, rates)
        assert np.abs(drawn - whole).max() <= 0.003 * whole.max()


@pytest.mark.parametrize("total_steps", [1, 7, 999, 20_011])
@pytest.mark.parametrize("name", families)
def test_no_peak_and_no_jump_of_a_curve_is_lost(name, total_steps):
    """What is drawn between few points is the curve: steps stay upright, peaks their height."""
    clock = Clock(total_steps, 1)
    schedule = Schedule(families[name](), 0.1)
    steps, rates = sketched(lambda step: clock.lr(schedule, step), total_steps)
    whole = clock.curve(schedule)
    assert np.abs(np.interp(range(total_steps), steps, rates) - whole).max() <= 0.0003
    assert max(rates) == pytest.approx(whole.max(), rel=2e-3)
    assert len(steps) < 200


def test_trials_of_one_family_can_be_told_apart(read):
    data = read("one family")
    complete = [trial.number for trial in data.ranked[:3]]
    traces = [t for t in training(data, complete).data if t.yaxis == "y"]
    assert len({(t.line.color, t.marker.symbol) for t in traces}) == len(traces) == 3
    lines = FIGURES["winners"](data).data
    assert len({line.marker.symbol for line in lines}) == len(lines)
    labels = [a.text for a in FIGURES["winners"](data).layout.annotations]
    assert sorted(labels) == sorted(line.name for line in lines)


def test_bars_of_the_timeline_are_alike_however_many_workers_a_family_has_met(read):
    bars = [t for t in FIGURES["timeline"](read("every family")).data if t.type == "bar"]
    assert {bar.width for bar in bars} == {0.75}


def test_figures_show_the_good_values_and_all_of_them_on_request(read):
    data = read("every family")
    low, high = data.good
    assert low < data.ranked[0].value < high
    for name in ("by_family", "base_lr", "epochs"):
        figure = FIGURES[name](data)
        shown = figure.layout.xaxis.range if name == "by_family" else figure.layout.yaxis.range
        assert shown == data.good
        points = [v for t in figure.data for v in (t.x if name == "by_family" else t.y)]
        assert min(p for p in points if p is not None) < low  # which a double click shows


def test_a_layout_chooses_figures_and_their_order(tmp_path, monkeypatch, read):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_figures.py").write_text(
        "from plotly.graph_objects import Figure, Bar\n"
        "def count(data): return Figure(Bar(y=[len(data.trials)]))\n"
        "def broken(data): return 1 / 0\n"
    )
    path = tmp_path / "layout.toml"
    path.write_text('figures = ["timeline", "own_figures:count", "own_figures:broken"]')
    layout = read_layout(path)
    assert list(layout) == ["timeline", "own_figures:count", "own_figures:broken"]
    data = read("one family")
    assert layout["own_figures:count"](data).data[0].y == (40,)
    # what is broken says so in its place
    said = layout["own_figures:broken"](data).layout.annotations[0].text
    assert said == "ZeroDivisionError: division by zero"
    assert list(read_layout(tmp_path / "none.toml")) == list(FIGURES)


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ('figures = ["winers"]', LrsearchError, "did you mean 'winners'?"),
        ("figures = 3", LrsearchError, "must hold one list"),
        ("panels = []", LrsearchError, "must hold one list"),
        ("figures = [", LrsearchError, "cannot be read"),
        ('figures = ["no_such_module:figure"]', TaskError, "cannot import"),
    ],
)
def test_a_bad_layout_is_refused(tmp_path, text, error, said):
    path = tmp_path / "layout.toml"
    path.write_text(text)
    with pytest.raises(error, match=said.replace("?", r"\?")):
        read_layout(path)


def test_the_layout_that_people_edit_names_every_figure():
    from lrsearch.reporting.figures.layout import LAYOUT

    assert LAYOUT.exists()
    assert list(read_layout()) == list(FIGURES)


def test_losses_are_drawn_within_the_epochs_where_their_curve_is_known(read):
    data = read("every family")
    trial = data.ranked[0]
    points = [(10 * n, {"train_loss": 1 / n, "train_accuracy": n / 99}) for n in range(1, 21)]
    rows = [
        row._replace(
            metrics={**row.metrics, "train_loss": 1.0, "train_accuracy": 0.5},
            curve=points[4 * number : 4 * number + 4],
        )
        for number, row in enumerate(trial.epochs)
    ]
    known = replace(trial, epochs=rows)
    figure = training(replace(data, trials=[known]), [trial.number])
    drawn = {trace.name: trace for trace in figure.data}
    svg = ElementTree.fromstring(picture(known, data.metric))
    lines = [line.get("points").split() for line in svg.findall(".//{*}polyline")]
    for name in ("train_loss", "train_accuracy"):
        assert list(drawn[name].x) == [step for step, _ in points]
        assert list(drawn[name].y) == pytest.approx([v[name] for _, v in points], rel=1e-3)
    assert [len(line) for line in lines[1:]] == [20, EPOCHS, 20, EPOCHS]
    assert len(known.course("val_loss")) == len(drawn["val_accuracy"].x) == EPOCHS
    many = replace(known, epochs=[row._replace(curve=points * 4) for row in rows])
    assert len(many.course("train_loss")) == EPOCHS  # too many to draw
