"""Confirmation: which schedules, on which seeds, what is said; nothing else reads the test set."""

import json
import math
import re
import sys

import numpy as np
import pytest
from optuna.trial import FixedTrial, TrialState, create_trial
from sqlalchemy import delete, update

from lrsearch import (
    Progress,
    Schedule,
    StudySpec,
    cli,
    create_study,
    families,
    open_storage,
    open_study,
)
from lrsearch.cli.view import print_result
from lrsearch.errors import SpecError, StudyError, TaskError
from lrsearch.evaluation import (
    Confirmation,
    Entry,
    compare,
    confirmation_spec,
    confirmed_rows,
    find_answer,
    read_answer,
    read_confirmation,
    summarize,
)
from lrsearch.reporting import confirmation_page, make_report, refresh, write_page
from lrsearch.storage import NoTrialReason, read_metrics, read_note
from lrsearch.storage.tables import metrics, seals
from lrsearch.study import Confirmed
from lrsearch.tasks import load_task
from lrsearch.worker import work

TESTED = []


class Luck:
    """Its score is how near `base_lr` is to 0.1, and luck; rates over 5 diverge on odd seeds."""

    epochs = 4
    steps_per_epoch = 50
    metric_names = ("val_accuracy",)

    def __init__(self, luck: float = 0.01) -> None:
        self.luck = luck

    def run(self, schedule, *, epochs, seed, device, state=None):
        rng = np.random.default_rng([seed, round(schedule.base_lr * 1e6)])
        value = 0.9 - 0.1 * abs(math.log10(schedule.base_lr / 0.1))
        for epoch in range(1, epochs + 1):
            accuracy = value + self.luck * rng.normal()
            if schedule.base_lr > 5 and seed % 2:
                accuracy = math.nan
            yield Progress(epoch, {"val_accuracy": accuracy}, test=lambda: self.test(value, rng))

    def test(self, value, rng):
        TESTED.append(value)
        return {"test_accuracy": value + self.luck * rng.normal()}


def search(url, trials=24, run=f"{__name__}:Luck", **sections):
    spec = StudySpec.from_dict(
        {
            "study": {"name": "search", "trials": trials},
            "task": {"run": run},
            "space": {
                "families": ["constant", "cosine", "step", "linear"],
                "base_lr": {"low": 1e-3, "high": 1.0},
            },
            **sections,
        }
    )
    study = create_study(open_storage(url), spec, load_task(run, spec.task_options()))
    assert work(url, "search", "cpu") is NoTrialReason.DONE
    return study


def confirmed(study, **options):
    spec = confirmation_spec(study, **options)
    confirming = create_study(study.storage, spec, Luck())
    assert (
        work(study.storage.engine.url.render_as_string(), spec.study.name, "cpu")
        is NoTrialReason.DONE
    )
    return confirming


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/study.db"


def test_a_search_never_touches_the_test_set_and_a_confirmation_once_per_run(url):
    TESTED.clear()
    study = search(url)
    assert TESTED == []
    assert not any("test_accuracy" in r.metrics for r in read_metrics(study.storage, 1))
    confirming = confirmed(study, top=3, seeds=3)
    runs = len(confirming.spec.schedules) * 3
    assert len(TESTED) == runs
    rows = read_metrics(study.storage, confirming.study_id)
    assert [row.epoch for row in rows if "test_accuracy" in row.metrics] == [4] * runs


def test_the_best_and_the_best_of_the_best_families_and_what_is_listed_are_confirmed(url):
    listed = {"schedule": "wsd", "base_lr": 0.002}
    study = search(url, schedules=[listed])
    spec = confirmation_spec(study, top=4, seeds=2, against=["step"])
    trials = study.optuna.trials
    complete = sorted((t for t in trials if t.state == TrialState.COMPLETE), key=lambda t: -t.value)
    numbers = spec.confirm.trials
    assert {t.number for t in complete[:4]} <= set(numbers)
    assert 0 in numbers  # the listed one
    names = [name.split(" #")[0] for name in spec.confirm.names]
    ranked = list(dict.fromkeys(t.user_attrs["schedule"]["schedule"] for t in complete))
    assert {*ranked[:3], "step", "constant", "wsd"} <= set(names)
    assert len(set(numbers)) == len(numbers)
    searched = {study.spec.study.seed + rung.seed for rung in study.rungs}
    assert len(searched) > 1
    assert spec.confirm.seeds == [max(searched) + 1, max(searched) + 2]
    assert spec.study.trials == 2 * len(numbers)
    with pytest.raises(StudyError, match=r"--against noam: .*known: "):
        confirmation_spec(study, against=["noam"])


def test_the_seeds_of_a_confirmation_begin_after_those_of_the_search(url):
    study = search(url, pruning={"kind": "rungs", "horizons": [1, 4], "seeds": 3}, trials=24)
    trained = {study.rungs[row.run].seed for row in read_metrics(study.storage, study.study_id)}
    assert trained == set(range(7))  # of the best: in full on three, as checks on four
    assert confirmation_spec(study, seeds=2).confirm.seeds == [7, 8]


def test_all_train_on_the_same_seeds_and_the_winner_is_the_best_mean(url):
    study = search(url)
    confirming = confirmed(study, top=4, seeds=4)
    found = read_confirmation(confirming)
    for entry in found.entries:
        assert sorted(entry.values) == found.seeds
        trial = study.optuna.trials[entry.trial]
        assert trial.user_attrs["schedule"] == entry.schedule.to_dict()
    means = {entry.name: np.mean(list(entry.values.values())) for entry in found.entries}
    assert found.winner.name == max(means, key=means.get)
    assert found.metric == "test_accuracy"
    said = "\n".join(summarize(found))
    assert "cannot be told apart" in said or "beats" in said
    assert "on 4 fresh seeds" in said
    assert re.search("the search (over|under)estimated .* by [0-9.]+ pp", said)


def test_a_schedule_that_diverged_on_any_seed_cannot_win(url):
    schedules = [{"schedule": "constant", "base_lr": lr} for lr in (0.001, 6.0)]
    spec = StudySpec.from_dict(
        {
            "study": {"name": "given", "trials": 6},
            "task": {"run": f"{__name__}:Luck"},
            "pruning": {"kind": "none"},
            "confirm": {"seeds": [2, 3, 4]},
            "schedules": schedules,
        }
    )
    study = create_study(open_storage(url), spec, Luck())
    with pytest.raises(StudyError, match="0 of the 6 runs"):
        read_confirmation(study)
    work(url, "given", "cpu")
    found = read_confirmation(study)
    assert [entry.diverged for entry in found.entries] == [[], [3]]
    assert found.winner is found.entries[0]
    assert "constant (2) diverged on 1 of 3 seeds" in summarize(found)


def test_a_search_that_went_on_is_confirmed_anew_and_one_that_did_not_goes_on(url):
    study = search(url)
    first = confirmation_spec(study, top=2, seeds=2)
    create_study(study.storage, first, Luck())
    assert confirmation_spec(study, top=2, seeds=2) == first
    other = confirmation_spec(study, top=3, seeds=2)
    assert (first.study.name, other.study.name) == ("search-confirmed", "search-confirmed-2")
    assert open_study(study.storage).name == "search"  # confirmations do not count there


def test_what_is_no_trial_may_win_and_the_best_trial_is_still_the_answer(url, capsys):
    """As a schedule-free optimizer's constant rate: it is named, and no trial unconfirmed again."""
    study = search(url, trials=6, pruning={"kind": "none"})
    data = confirmation_spec(study, top=3, seeds=4).to_dict()
    data["confirm"]["trials"].pop()  # the last counts as none of the search
    spec = StudySpec.from_dict(data)
    confirming = create_study(study.storage, spec, Luck())
    assert work(url, spec.study.name, "cpu") is NoTrialReason.DONE
    records = confirming.records()
    last = len(spec.confirm.names) - 1
    means = {last: 0.99, 1: 0.8}  # it wins, and the second best of the search comes next
    for row in read_metrics(study.storage, confirming.study_id):
        if "test_accuracy" in row.metrics:
            mean = means.get(records[row.trial].entry, 0.5)
            tested = {"test_accuracy": mean + row.trial / 1e4}
            rewrite(study, confirming, row, {**row.metrics, **tested})
    found = read_confirmation(confirming)
    assert found.winner is found.entries[last]
    answer = find_answer(study)
    assert answer.trial.number == spec.confirm.trials[1] != study.best().number
    assert answer.confirmed.mean == pytest.approx(0.8, abs=0.01)
    assert answer.confirmed.better == (spec.confirm.names[last],)
    assert spec.confirm.names[last] not in (*answer.confirmed.beaten, *answer.confirmed.tied)
    assert find_answer(confirming).confirmed.mean == pytest.approx(0.99, abs=0.01)
    print_result(study, url)
    out = capsys.readouterr().out
    assert f"better there, and no trial: {spec.confirm.names[last]}" in out
    assert "lrsearch confirm" not in out


def test_every_place_names_the_confirmed_winner_and_how_sure_that_is(url, tmp_path, capsys):
    study = search(url, trials=6, pruning={"kind": "none"})
    assert find_answer(study).trial.number == study.best().number
    assert find_answer(study).confirmed is None
    confirming = confirmed(study, top=2, seeds=4)
    found = read_confirmation(confirming)
    # whoever won, let it be one that the search did not have first
    winner = next(e for e in found.compared if e.trial != study.best().number)
    index = confirming.spec.confirm.trials.index(winner.trial)
    for row in read_metrics(study.storage, confirming.study_id):
        better = confirming.records()[row.trial].entry == index
        if "test_accuracy" in row.metrics:
            rewritten = {**row.metrics, "test_accuracy": 0.99 if better else 0.5 + row.trial / 1e4}
            rewrite(study, confirming, row, rewritten)
    answer = find_answer(study)
    assert answer.trial.number == winner.trial != study.best().number
    assert (answer.confirmed.metric, answer.confirmed.seeds) == ("test_accuracy", 4)
    assert answer.confirmed.mean == pytest.approx(0.99)
    assert "confirmed" in make_report(study).figures
    assert set(answer.confirmed.beaten) | set(answer.confirmed.tied) == {
        entry.name for entry in found.compared if entry.trial != winner.trial
    }
    said = f"trial {winner.trial}"
    report = make_report(study)
    assert said in report.lead
    assert "test_accuracy 0.9900" in report.lead
    assert f", of {said}, along" in report.section("Again").code
    refresh(study)
    note = read_note(study.optuna)
    assert said in note.splitlines()[0]
    assert f", of {said}, along" in note
    for show in (
        lambda: lrsearch("status", "--storage", url, "--study", "search"),
        lambda: print_result(study, url),  # what `launch` and `resume` end with
    ):
        show()
        out = capsys.readouterr().out
        assert said in out
        assert "test_accuracy 0.9900" in out
    assert lrsearch("export", "--storage", url, "--study", "search") == 0
    assert json.loads(capsys.readouterr().out)["trial"] == winner.trial
    # asked for by its number, another is not confirmed
    assert read_answer(study, study.best().number).confirmed is None
    # of the confirmation itself, the answer is its winner and not its luckiest run
    assert read_answer(confirming).confirmed == answer.confirmed
    # the search goes on and finds another
    study.optuna.add_trial(better_than_all(study))
    study = open_study(study.storage, "search")
    answer = find_answer(study)
    assert (answer.trial.number, answer.leads_now) == (winner.trial, len(study.records()) - 1)
    assert f"Trial {answer.leads_now} leads the search now" in make_report(study).lead


def better_than_all(study):
    best = study.optuna.trials[study.best().number]
    return create_trial(
        value=2.0, params=best.params, distributions=best.distributions,
        user_attrs=best.user_attrs,
    )  # fmt: skip


def rewrite(study, confirming, row, values):
    with study.storage.engine.begin() as connection:
        connection.execute(
            update(metrics)
            .where(metrics.c.study_id == confirming.study_id, metrics.c.trial == row.trial)
            .where(metrics.c.epoch == row.epoch)
            .values(metrics=values, checksum=None)
        )
        connection.execute(delete(seals))


def lrsearch(*arguments):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["lrsearch", *arguments])
        try:
            cli.main()
        except SystemExit as end:
            return end.code or 0
    return 0


def made_up(values):
    """Return a confirmation of these test values: by family, one for each seed."""
    entries = [
        Entry(
            name=f"{name} #{number}",
            trial=number,
            schedule=Schedule(families[name](), 0.1),
            searched=0.9,
            values=dict(enumerate(of_seeds)),
            validation=dict(enumerate(of_seeds)),
            diverged=[],
            failed_to_train=[],
        )
        for number, (name, of_seeds) in enumerate(values.items())
    ]
    comparison = compare(np.array(list(values.values())))
    seeds = list(range(len(next(iter(values.values())))))
    return Confirmation("test_accuracy", True, seeds, entries, entries, comparison)


def test_two_seeds_say_that_more_are_needed():
    found = made_up({"cosine": [0.9, 0.8], "step": [0.7, 0.5]})
    assert not any("±" in cell for row in confirmed_rows(found) for cell in row)
    assert "2 seeds are too few to say; confirm on more" in "".join(summarize(found))
    known = Confirmed("test_accuracy", 0.85, None, 2)
    assert known.summary.endswith("on 2 fresh seeds, too few for an interval (--seeds 5)")
    drawn = confirmation_page("search", found).figures["confirmed"]
    assert not any(trace.error_x.value for trace in drawn.data)
    assert "too few for an interval" in drawn.layout.title.subtitle.text.replace("<br>", " ")


def test_the_page_of_a_confirmation_draws_the_paired_differences(tmp_path):
    values = {"cosine": [0.9, 0.91, 0.92, 0.9], "step": [0.8, 0.85, 0.8, 0.79], "rex": [0.89] * 4}
    found = made_up(values)
    page = confirmation_page("search", found)
    traces = page.figures["confirmed"].data
    paired = {t.y[0]: t for t in traces if t.yaxis == "y2" and len(t.x) == len(found.seeds)}
    assert set(paired) == {"step #1", "rex #2"}
    for entry in found.entries[1:]:
        behind = [found.winner.values[s] - entry.values[s] for s in found.seeds]
        assert list(paired[entry.name].x) == pytest.approx(behind)
    write_page(tmp_path / "c.html", page)
    text = (tmp_path / "c.html").read_text()
    assert "The best is cosine #0 with base_lr 0.1: test_accuracy 0.9075 ± 0.0152 on 4" in text
    assert all(f'<td data-name="schedule">{entry.name}</td>' in text for entry in found.entries)


@pytest.mark.parametrize(
    ("confirm", "trials", "said"),
    [
        ({"seeds": [1]}, 1, "at least 2"),
        ({"seeds": [1, 1]}, 2, "must be different"),
        ({"seeds": [1, 2]}, 3, r"1 \[\[schedules\]\] on 2 seeds are 2 trials"),
        ({"seeds": [1, 2], "names": ["a", "b"]}, 2, "one for each of the 1"),
        ({"seeds": [1, 2], "seed": 3}, 2, "unknown key 'confirm.seed'; did you mean 'seeds'"),
    ],
)
def test_confirmations_that_cannot_be_are_refused(confirm, trials, said):
    with pytest.raises(SpecError, match=said):
        StudySpec.from_dict(
            {
                "study": {"name": "a", "trials": trials},
                "task": {"run": "a:b"},
                "pruning": {"kind": "none"},
                "schedules": [{"schedule": "constant", "base_lr": 0.1}],
                "confirm": confirm,
            }
        )


def test_what_has_no_complete_trial_or_is_no_search_is_refused(url):
    study = search(url, trials=1, space={"families": ["constant"], "base_lr": 0.1})
    confirming = confirmed(study, seeds=2)
    with pytest.raises(StudyError, match="confirms another itself"):
        confirmation_spec(confirming)
    with pytest.raises(StudyError, match="is a search"):
        read_confirmation(study)


def test_against_schedule_free_adds_constant_rates_with_that_optimizer(finished_study):
    pytest.importorskip("schedulefree", reason="pip install 'lrsearch[schedulefree]'")
    study = open_study(open_storage(finished_study))
    spec = confirmation_spec(study, top=1, seeds=2, against=["schedule_free"])
    assert spec.confirm is not None
    own = len(spec.confirm.trials)
    assert len(spec.given_schedules()) == own + 3
    assert {options["task.optimizer.name"] for options in spec.confirm.options[:own]} == {
        "momentum"
    }
    rates = [schedule.base_lr for schedule in spec.given_schedules()[own:]]
    assert rates == pytest.approx([rates[0], 3 * rates[0], 10 * rates[0]])
    for index, options in enumerate(spec.confirm.options):
        trial = FixedTrial({**options, "schedule": "constant", "base_lr": 0.1})
        task = load_task(spec.task.run, spec.task_options(trial))
        assert task.optimizer_name == ("momentum" if index < own else "schedule_free_sgd")
    assert all(name.startswith("schedule_free_sgd, ") for name in spec.confirm.names[own:])


def test_a_task_without_a_named_optimizer_has_none_to_exchange(tmp_path):
    study = search(f"sqlite:///{tmp_path}/search.db", trials=4)
    with pytest.raises(TaskError, match="Luck only says how an epoch ended"):
        confirmation_spec(study, against=["schedule_free"])
