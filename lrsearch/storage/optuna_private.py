"""Every private name of Optuna's and of optuna-dashboard's that lrsearch stands on.

But three methods that Optuna's own cache calls, which `read_cache`, `transactions` and `storage`
override.

`pyproject.toml` bounds both packages from above, since any release may change these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import optuna
from optuna.storages._rdb.models import (
    StudyModel,
    TrialIntermediateValueModel,
    TrialModel,
    TrialParamModel,
    TrialSystemAttributeModel,
    TrialUserAttributeModel,
    TrialValueModel,
    VersionInfoModel,
)
from optuna.study._frozen import FrozenStudy as FrozenStudy  # what `get_all_studies` returns
from sqlalchemy import create_engine, select
from sqlalchemy.orm import scoped_session, sessionmaker

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial
    from sqlalchemy import Connection, Table

# A claim locks the study, counts trials by state and makes a new one in one transaction of our own.
# A public `storage.claim_trial(study_id, at_most=n)` would replace both tables.
studies: Table = StudyModel.__table__
trials: Table = TrialModel.__table__

# Reports are written without Optuna's ORM, which takes four times as long while others wait.
# A faster `set_trial_intermediate_value` would replace the table and the function.
reports: Table = TrialIntermediateValueModel.__table__

# Trials are read without the ORM too, in a tenth of its time. A faster `get_all_trials` would
# replace these and the two functions that read a stored number.
values: Table = TrialValueModel.__table__
params: Table = TrialParamModel.__table__
user_attributes: Table = TrialUserAttributeModel.__table__
system_attributes: Table = TrialSystemAttributeModel.__table__


# Which Optuna made the tables; `made_by_this_optuna` and `construct` read it.
_versions: Table = VersionInfoModel.__table__


def made_by_this_optuna(connection: Connection) -> bool:
    """Return whether Optuna's tables are of the very version that is installed."""
    query = select(_versions.c.library_version)
    return connection.execute(query).scalar() == optuna.__version__


class _Versions:
    """Optuna's manager of versions, which optuna-dashboard asks: made when it is asked."""

    def __init__(self, storage: RDBStorage) -> None:
        self._storage = storage

    def __getattr__(self, name: str) -> Any:
        from optuna.storages._rdb.storage import _VersionManager

        storage = self._storage
        manager = _VersionManager(storage.url, storage.engine, storage.scoped_session)
        return getattr(manager, name)


def construct(storage: RDBStorage, url: str, engine_options: dict[str, Any]) -> None:
    """Do what `RDBStorage.__init__` does, where the tables are there and of this version.

    To find that out it imports Alembic, a fifth of what a short command takes. An option to leave
    that out would replace this; `skip_compatibility_check` imports it too.
    """
    storage.engine_kwargs = engine_options
    storage.url = url
    storage.skip_compatibility_check = True
    storage.heartbeat_interval = storage.grace_period = None
    storage.heartbeat_stale_trial_callback = storage.failed_trial_callback = None
    storage.engine = create_engine(url, **engine_options)
    storage.scoped_session = scoped_session(sessionmaker(bind=storage.engine))
    storage._version_manager = _Versions(storage)  # type: ignore[assignment]


def read_report(value: float | None, kind: Any) -> float:
    """Return a reported value from how Optuna stores it."""
    return TrialIntermediateValueModel.stored_repr_to_intermediate_value(value, kind)


def read_value(value: float | None, kind: Any) -> float:
    """Return a trial's final value from how Optuna stores it."""
    return TrialValueModel.stored_repr_to_value(value, kind)


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


# The three below are of what a poll of optuna-dashboard's page is answered with; a page that asked
# for trials in parts would replace them.


def serialize_trial(
    study_id: int, trial: FrozenTrial, attributes: dict[str, Any]
) -> dict[str, Any]:
    """Return a trial as the page expects it; `attributes` are the study's."""
    from optuna_dashboard._serializer import serialize_frozen_trial

    return dict(serialize_frozen_trial(study_id, trial, attributes))


def serialize_attributes(attributes: dict[str, Any]) -> list[Any]:
    """Return a trial's attributes likewise."""
    from optuna_dashboard._serializer import serialize_attrs

    return list(serialize_attrs(attributes))


def serialize_distribution(distribution: BaseDistribution) -> Any:
    """Return a domain likewise."""
    from optuna_dashboard import _serializer

    return _serializer.serialize_distribution(distribution)
