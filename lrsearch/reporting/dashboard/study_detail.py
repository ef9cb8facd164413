"""A study as the dashboard's page asks for it, also with thousands of trials.

At every poll optuna-dashboard puts together anew what each trial is, with all its domains. Here the
text of a trial that has ended is made once. All else of the answer stays optuna-dashboard's, which
is asked for it with few trials: one of each kind.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Container, Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from lrsearch.reporting.dashboard.trial_pages import TrialPages
from lrsearch.storage import (
    collecting_later,
    serialize_attributes,
    serialize_distribution,
    serialize_trial,
    trial_id_of,
)

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_PATH = re.compile(r"/api/studies/(\d+)")
_NONE_OF_THEM = f"after={10**9}"
_NO_NOTE = {"version": 0, "body": ""}
_ARTIFACT = "artifacts:"
_text = lru_cache(maxsize=4096)(json.dumps)


class FewTrials(TrialPages):
    """Shows of a study's trials one of each kind, which says what domains and attributes it has."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.read: dict[int, list[FrozenTrial]] = {}
        """By study, all that was read last."""

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """Return the trials that show what none before them shows."""
        trials = self.read[study_id] = super().get_all_trials(study_id, deepcopy=False)
        kinds: dict[Any, FrozenTrial] = {}
        for trial in trials:
            domains = frozenset((name, id(d)) for name, d in trial.distributions.items())
            keys = frozenset((key, type(value)) for key, value in trial.user_attrs.items())
            kinds.setdefault((trial.state, bool(trial.intermediate_values), domains, keys), trial)
        return [t for t in kinds.values() if states is None or t.state in states]


class TrialTexts:
    """Trials as JSON, as optuna-dashboard puts them."""

    def __init__(self) -> None:
        self._domains: dict[int, tuple[BaseDistribution, str]] = {}
        """By identity: trials that were read together share them."""
        self._ended: dict[tuple[int, int], tuple[Any, str]] = {}

    def text(self, study_id: int, trial: FrozenTrial, attributes: dict[str, Any]) -> str:
        """Return the text of a trial; `attributes` are the study's, which may hold notes on it."""
        if not trial.state.is_finished() or "fixed_params" in trial.system_attrs:
            return json.dumps(serialize_trial(study_id, trial, attributes))
        key = study_id, trial_id_of(trial)
        mark = trial.number, trial.state, trial.datetime_start, trial.datetime_complete
        attrs = len(trial.system_attrs), len(trial.user_attrs)  # an artifact may come later
        known = self._ended.get(key)
        if known is None or known[0] != (mark, attrs):
            known = self._ended[key] = (mark, attrs), self._make(study_id, trial)
        return known[1]

    def _make(self, study_id: int, trial: FrozenTrial) -> str:
        artifacts = (v for k, v in trial.system_attrs.items() if k.startswith(_ARTIFACT))
        fields = {
            "trial_id": str(trial_id_of(trial)),
            "study_id": str(study_id),
            "number": str(trial.number),
            "state": _text(trial.state.name.capitalize()),
            "params": _list(self._param(trial, name) for name in trial.params),
            "fixed_params": "[]",
            "user_attrs": json.dumps(serialize_attributes(trial.user_attrs)),
            "note": json.dumps(_NO_NOTE),
            "artifacts": _list(text for text in artifacts if text != "null"),
            "constraints": json.dumps(trial.system_attrs.get("constraints", [])),
            "intermediate_values": _list(
                f'{{"step": {step}, "value": {_number(value)}}}'
                for step, value in sorted(trial.intermediate_values.items())
            ),
        }
        if trial.values is not None:
            fields["values"] = _list(map(_number, trial.values))
        for name, time in (
            ("datetime_start", trial.datetime_start),
            ("datetime_complete", trial.datetime_complete),
        ):
            if time is not None:
                fields[name] = f'"{time.isoformat()}"'
        return "{" + ", ".join(f'"{name}": {text}' for name, text in fields.items()) + "}"

    def _param(self, trial: FrozenTrial, name: str) -> str:
        value, distribution = trial.params[name], trial.distributions[name]
        known = self._domains.get(id(distribution))
        if known is None or known[0] is not distribution:
            known = distribution, json.dumps(serialize_distribution(distribution))
            self._domains[id(distribution)] = known
        return (
            f'{{"name": {_text(name)}, '
            f'"param_internal_value": {json.dumps(distribution.to_internal_repr(value))}, '
            f'"param_external_value": {json.dumps(str(value))}, '
            f'"param_external_pytyp": {_text(str(type(value)))}, "distribution": {known[1]}}}'
        )


def _list(texts: Iterable[str]) -> str:
    return f"[{', '.join(texts)}]"


def _number(value: float) -> str:
    return json.dumps(value) if math.isfinite(value) else f'"{value}"'


def with_details(app: WSGIApplication, few_app: WSGIApplication, few: FewTrials) -> WSGIApplication:
    """Return an app that answers as `app` does, but puts together studies in less time.

    Args:
        app: optuna-dashboard's.
        few_app: the same on a storage that shows few trials,
        few: which is this one.
    """
    texts = TrialTexts()

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        asked = _PATH.fullmatch(environ.get("PATH_INFO", ""))
        after = parse_qs(environ.get("QUERY_STRING", "")).get("after", ["0"])[0]
        if environ["REQUEST_METHOD"] != "GET" or not asked or not after.isdecimal():
            return app(environ, start_response)
        begun: list[Any] = []
        few_environ = {**environ, "QUERY_STRING": _NONE_OF_THEM}
        body = b"".join(few_app(few_environ, lambda *args: begun.extend(args)))  # type: ignore[arg-type]
        if not begun[0].startswith("200"):
            return app(environ, start_response)
        detail = json.loads(body)
        if len(detail["directions"]) > 1 or detail["is_preferential"]:  # these rank trials by all
            return app(environ, start_response)
        study_id = int(asked[1])
        whole = _whole(detail, study_id, int(after), few, texts)
        length = ("Content-Length", str(len(whole)))
        start_response(begun[0], [*(h for h in begun[1] if h[0] != length[0]), length])
        return [whole]

    return answer


def _whole(
    detail: dict[str, Any], study_id: int, after: int, few: FewTrials, texts: TrialTexts
) -> bytes:
    """Return the answer with the trials in it."""
    del detail["trials"]
    attributes = few.get_study_system_attrs(study_id)
    named = {int(number) for key in attributes for number in re.findall(r"\d+", key)}
    with collecting_later():
        found = [
            json.dumps(serialize_trial(study_id, trial, attributes))
            if trial_id_of(trial) in named  # a note on it, perhaps
            else texts.text(study_id, trial, attributes)
            for trial in few.read[study_id][after:]
        ]
    return f'{json.dumps(detail)[:-1]}, "trials": {_list(found)}}}'.encode()
