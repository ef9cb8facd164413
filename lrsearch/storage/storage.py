"""The storage that workers use: where its files are, and writing to trials at little cost."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    check_distribution_compatibility,
    distribution_to_json,
    json_to_distribution,
)
from optuna.trial import FrozenTrial, TrialState
from platformdirs import user_cache_path
from sqlalchemy import Connection, bindparam, delete, insert, select

from lrsearch.storage import postgresql
from lrsearch.storage.optuna_private import params, reports, stored_report, trials, user_attributes
from lrsearch.storage.read_cache import ReadCache
from lrsearch.storage.seals import check_seals, seal_trial
from lrsearch.storage.trial_reading import read_numbered

_STATE = select(trials.c.state).where(trials.c.trial_id == bindparam("of_trial"))
_FORGET_REPORT = delete(reports).where(
    reports.c.trial_id == bindparam("of_trial"), reports.c.step == bindparam("at_step")
)
_REPORT = insert(reports)
_FORGET_ATTRIBUTE = delete(user_attributes).where(
    user_attributes.c.trial_id == bindparam("of_trial"),
    user_attributes.c.key == bindparam("at_key"),
)
_ATTRIBUTE = insert(user_attributes)
_OF_STUDY = select(trials.c.study_id).where(trials.c.trial_id == bindparam("of_trial"))
_DOMAIN = (
    select(params.c.distribution_json)
    .join(trials, trials.c.trial_id == params.c.trial_id)
    .where(trials.c.study_id == _OF_STUDY.scalar_subquery())
    .where(params.c.param_name == bindparam("of_name"))
    .limit(1)
)
_PARAMETER = insert(params)


class Storage(ReadCache):
    """An Optuna storage that many processes can share; see `open_storage`."""

    @property
    def files(self) -> Path:
        """The folder for logs, and for checkpoints if there is no `store`.

        It is in `LRSEARCH_FILES` if that is a folder; else beside a SQLite file
        (`lrsearch.db.files/`), and for PostgreSQL in the user's cache. Where several machines share
        a study, set it to a folder on a disk that they share, or to the URL of a store: without, a
        machine starts another's trial over.
        """
        url, name = self.engine.url, self._files_name
        root = os.environ.get("LRSEARCH_FILES")
        if root and "://" not in root:
            return Path(root) / name
        if self.is_file:
            return Path(f"{url.database}.files").absolute()
        return user_cache_path("lrsearch") / "files" / name

    @property
    def is_file(self) -> bool:
        """Whether it is a file, which the processes of one machine alone can share."""
        return self.engine.url.get_backend_name() == "sqlite"

    @property
    def of_this_machine(self) -> bool:
        """Whether its URL leads to this machine from this machine alone."""
        return self.is_file or postgresql.is_loopback(postgresql.host_of(self.engine.url))

    def url_with_password(self) -> str:
        """Return its URL with the password that this process connects with, wherever that stood.

        For the environment of a worker on a machine without that file; show it nobody.
        """
        url = self.engine.url
        if not self.is_file:
            with self.engine.connect() as connection:
                driver: Any = connection.connection.driver_connection
                url = url.set(password=driver.info.password or None)
        return url.render_as_string(hide_password=False)

    @property
    def store(self) -> str | None:
        """The URL that is to hold checkpoints, if `LRSEARCH_FILES` is one; it may hold secrets."""
        root = os.environ.get("LRSEARCH_FILES", "")
        return f"{root.rstrip('/')}/{self._files_name}" if "://" in root else None

    @property
    def _files_name(self) -> str:
        url = self.engine.url
        return sha256(url.set(password=None).render_as_string().encode()).hexdigest()[:16]

    def trials_numbered(self, study_id: int, numbers: Iterable[int]) -> list[FrozenTrial]:
        """Return the trials of a study that have these numbers, without reading any other."""
        with self.reading() as connection:
            return read_numbered(connection, study_id, numbers)

    def set_trial_intermediate_value(
        self, trial_id: int, step: int, intermediate_value: float
    ) -> None:
        """Store a report as Optuna does, but without its ORM, which takes four times as long.

        Reports are most of what workers write, and others wait while one writes.
        """
        value, kind = stored_report(intermediate_value)
        key = {"of_trial": trial_id, "at_step": step}
        row = {
            "trial_id": trial_id,
            "step": step,
            "intermediate_value": value,
            "intermediate_value_type": kind,
        }
        with self._writing_to(trial_id) as connection:
            connection.execute(_FORGET_REPORT, key)
            connection.execute(_REPORT, row)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Store a user attribute, likewise."""
        row = {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}
        with self._writing_to(trial_id) as connection:
            connection.execute(_FORGET_ATTRIBUTE, {"of_trial": trial_id, "at_key": key})
            connection.execute(_ATTRIBUTE, row)

    def _set_trial_param(  # private: what `set_trial_param` and Optuna's cache call
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
        previous_distribution: BaseDistribution | None = None,
    ) -> None:
        """Store a parameter, likewise; its domain must go with the one that is in the study."""
        row = {
            "trial_id": trial_id,
            "param_name": param_name,
            "param_value": param_value_internal,
            "distribution_json": distribution_to_json(distribution),
        }
        with self._writing_to(trial_id) as connection:
            if previous_distribution is None:
                query = {"of_trial": trial_id, "of_name": param_name}
                if stored := connection.execute(_DOMAIN, query).scalar():
                    previous_distribution = json_to_distribution(stored)
            if previous_distribution is not None:
                check_distribution_compatibility(previous_distribution, distribution)
            connection.execute(_PARAMETER, row)

    @contextmanager
    def _writing_to(self, trial_id: int) -> Iterator[Connection]:
        """Open a transaction that writes to a trial, or go on in this thread's own."""
        self.note_change(trial_id)
        with self.writing() as connection:
            state = connection.execute(_STATE, {"of_trial": trial_id}).scalar()
            if state is None:
                raise KeyError(f"there is no trial with id {trial_id}")
            self.check_trial_is_updatable(trial_id, state)
            yield connection

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """Store a state and, of a complete trial, its value; seal a trial that has ended."""
        with self.writing() as connection:
            stored = super().set_trial_state_values(trial_id, state, values)
            if stored and state.is_finished():
                seal_trial(connection, trial_id)
        return stored

    def check(self, study_id: int, name: str, latest: int | None = None) -> None:
        """Look whether a study, and its latest or all trials, are as they were stored.

        Raises:
            StorageError: if it is not.
        """
        with self.reading() as connection:
            if connection.dialect.name == "postgresql":  # so that all is read as of one moment
                connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            check_seals(connection, study_id, name, latest)
