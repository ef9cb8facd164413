"""Every private name of Optuna's and of optuna-dashboard's that lrsearch stands on.

But two methods that Optuna's own cache calls, which `read_cache` overrides.

`pyproject.toml` bounds both packages from above, since any release may change these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from optuna.storages._rdb.models import (
    StudyModel,
    TrialIntermediateValueModel,
    TrialModel,
    TrialUserAttributeModel,
)
from optuna.study._frozen import FrozenStudy as FrozenStudy  # what `get_all_studies` returns

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial
    from sqlalchemy import Table

# A claim locks the study, counts trials by state and makes a new one in one transaction of our own.
# A public `storage.claim_trial(study_id, at_most=n)` would replace both tables.
studies: Table = StudyModel.__table__
trials: Table = TrialModel.__table__

# Reports are written without Optuna's ORM, which takes four times as long while others wait.
# A faster `set_trial_intermediate_value` would replace the table and the function.
reports: Table = TrialIntermediateValueModel.__table__

# A claim asks which trials learned nothing, of thousands; `get_all_trials` reads all of each.
user_attributes: Table = TrialUserAttributeModel.__table__


def stored_report(value: float) -> tuple[float | None, Any]:
    """Return how Optuna stores a reported value: the number, and its kind (NaN, infinite, …)."""
    return TrialIntermediateValueModel.intermediate_value_to_stored_repr(value)


def study_id_of(study: Study) -> int:
    """Return the id that joins Optuna's tables to ours; a public `study.id` would replace it."""
    return study._study_id


def trial_id_of(trial: FrozenTrial) -> int:
    """Return the id that leases refer to; a public `trial.id` would replace it."""
    return trial._trial_id


def show_attributes(trial: FrozenTrial, attributes: dict[str, Any]) -> None:
    """Add to what a trial that was read shows; `create_trial` makes no trial with an id."""
    trial._system_attrs |= attributes


def plot_attribute(name: str) -> str:
    """Return the study attribute under which optuna-dashboard looks for a figure.

    `save_plotly_graph_object` writes an attribute for every 2 kB, all of which each poll looks
    through for every trial; one that writes a figure whole would replace this.
    """
    from optuna_dashboard._custom_plot_data import SYSTEM_ATTR_PLOT_DATA

    return f"{SYSTEM_ATTR_PLOT_DATA}{name}"


def read_note(study: Study) -> str:
    """Return a study's note; a public counterpart of `save_note` would replace this."""
    from optuna_dashboard._note import get_note

    return str(get_note(study))
