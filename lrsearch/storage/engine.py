"""A URL → the Optuna storage that our workers use, safe for many processes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    check_distribution_compatibility,
    distribution_to_json,
    json_to_distribution,
)
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from platformdirs import user_cache_path
from sqlalchemy import (
    URL,
    Connection,
    bindparam,
    create_engine,
    delete,
    event,
    insert,
    select,
    text,
)
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import NullPool

from lrsearch.errors import StorageError
from lrsearch.storage import postgresql, sqlite
from lrsearch.storage.messages import masked, parse_url, storage_errors
from lrsearch.storage.optuna_private import (
    FrozenStudy,
    construct,
    made_by_this_optuna,
    params,
    reports,
    stored_report,
    trials,
    user_attributes,
)
from lrsearch.storage.read_cache import ReadCache
from lrsearch.storage.seals import check_seals, seal_trial
from lrsearch.storage.tables import VERSION, check_tables, create_tables, migrate_tables
from lrsearch.storage.trial_reading import Sketch, read_numbered, read_sketches

_reading: ContextVar[bool] = ContextVar("reading", default=False)
_writing: ContextVar[Connection | None] = ContextVar("writing", default=None)
_guard: ContextVar[Callable[[Connection], None] | None] = ContextVar("guard", default=None)

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
    """An Optuna storage whose transactions many processes can share; see `open_storage`.

    On SQLite every writing transaction takes the write lock when it begins, since Optuna reads
    before it writes and SQLite has no row locks; reading ones take none and never wait. On
    PostgreSQL Optuna's own row locks do.
    """

    def __init__(self, url: URL, *, checked: bool = False) -> None:
        text = url.render_as_string(hide_password=False)
        if checked:
            construct(self, text, _engine_options(url))
        else:
            super().__init__(text, _engine_options(url), skip_table_creation=True)
            self.engine.dispose()  # what the constructor opened does not know the event
        event.listen(self.engine, "begin", _begin)

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

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a transaction that only reads."""
        with _as_reader(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Make all that this thread writes in the block one transaction, Optuna's methods included.

        Blocks nest, and the outermost commits. Keep them short: on SQLite nobody else writes then.
        """
        outer = _writing.get()
        if outer is not None and outer.engine is self.engine:
            yield outer
            return
        with self.engine.begin() as connection:
            self.scoped_session.remove()
            self.scoped_session(bind=connection, join_transaction_mode="rollback_only")
            token = _writing.set(connection)
            try:
                yield connection
            finally:
                _writing.reset(token)
                self.scoped_session.remove()

    @contextmanager
    def guarded(self, check: Callable[[Connection], None]) -> Iterator[None]:
        """Begin every writing transaction of this thread with `check`, which raises to forbid it.

        So what a worker writes, and its right to write it, are one transaction.
        """
        token = _guard.set(check)
        try:
            yield
        finally:
            _guard.reset(token)

    def trials_numbered(self, study_id: int, numbers: Iterable[int]) -> list[FrozenTrial]:
        """Return the trials of a study that have these numbers, without reading any other."""
        with self.reading() as connection:
            return read_numbered(connection, study_id, numbers)

    def sketches(
        self,
        study_id: int,
        steps: Collection[int],
        attributes: Collection[str],
        without: Container[int] = (),
    ) -> list[Sketch]:
        """Return what the trials of a study came to, but those with some numbers.

        Args:
            study_id: Optuna's id of the study.
            steps: of the reports that are wanted beside the last.
            attributes: the keys of the user attributes that are wanted.
            without: the numbers of trials that are not.
        """
        with self.reading() as connection:
            return read_sketches(connection, study_id, steps, attributes, without)

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

    @contextmanager
    def _seeing(self) -> Iterator[Connection]:
        outer = _writing.get()
        if outer is not None and outer.engine is self.engine:
            yield outer
            return
        with self.reading() as connection:
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

    # What follows is Optuna's, declared to be reading: on SQLite such a transaction takes no lock.

    def get_study_id_from_name(self, study_name: str) -> int:
        """Return the id of a study."""
        with _as_reader():
            return super().get_study_id_from_name(study_name)

    def get_study_name_from_id(self, study_id: int) -> str:
        """Return the name of a study."""
        with _as_reader():
            return super().get_study_name_from_id(study_id)

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        """Return which way is better."""
        with _as_reader():
            return super().get_study_directions(study_id)

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """Return a study's user attributes."""
        with _as_reader(), _decoding():
            return super().get_study_user_attrs(study_id)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """Return a study's system attributes."""
        with _as_reader():
            return super().get_study_system_attrs(study_id)

    def get_all_studies(self) -> list[FrozenStudy]:
        """Return all studies."""
        with _as_reader(), _decoding():
            return super().get_all_studies()

    def get_trial_user_attrs(self, trial_id: int) -> dict[str, Any]:
        """Return a trial's user attributes."""
        with _as_reader():
            return super().get_trial_user_attrs(trial_id)

    def get_trial_system_attrs(self, trial_id: int) -> dict[str, Any]:
        """Return a trial's system attributes."""
        with _as_reader():
            return super().get_trial_system_attrs(trial_id)

    def get_trial_param(self, trial_id: int, param_name: str) -> float:
        """Return a trial's parameter."""
        with _as_reader():
            return super().get_trial_param(trial_id, param_name)

    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        """Return the id of a trial."""
        with _as_reader():
            return super().get_trial_id_from_study_id_trial_number(study_id, trial_number)

    def get_trial(self, trial_id: int) -> FrozenTrial:
        """Return a trial."""
        with _as_reader():
            return super().get_trial(trial_id)

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """Return the trials of a study."""
        with _as_reader(), _decoding():
            return super().get_all_trials(study_id, deepcopy, states)

    def get_best_trial(self, study_id: int) -> FrozenTrial:
        """Return the best complete trial of a study."""
        with _as_reader():
            return super().get_best_trial(study_id)

    def _get_trials(
        self, *args: Any, **kwargs: Any
    ) -> list[FrozenTrial]:  # private: Optuna's cache calls it
        with _as_reader(), _decoding():
            return super()._get_trials(*args, **kwargs)

    def _get_best_trial_id(self, study_id: int, direction: StudyDirection) -> int:  # likewise
        with _as_reader():
            return super()._get_best_trial_id(study_id, direction)


@contextmanager
def _as_reader() -> Iterator[None]:
    token = _reading.set(True)
    try:
        yield
    finally:
        _reading.reset(token)


@contextmanager
def _decoding() -> Iterator[None]:
    """Say so where what is stored makes no sense."""
    try:
        yield
    except KeyError:  # how Optuna says that there is no such study or trial
        raise
    except (ValueError, TypeError, LookupError) as error:
        raise StorageError(f"what is stored cannot be read, and may be damaged: {error}") from error


def _engine_options(url: URL) -> dict[str, Any]:
    """Return how SQLAlchemy is to connect."""
    if url.get_backend_name() == "sqlite":
        return {"creator": partial(sqlite.connect, str(url.database))}
    if url.get_dialect().driver == "psycopg":
        return {"creator": partial(postgresql.connect, url), "pool_pre_ping": True}
    return {"pool_pre_ping": True}


def _begin(connection: Connection) -> None:
    reading = _reading.get()
    guard = _guard.get()
    try:
        if connection.dialect.name == "sqlite":
            sqlite.begin(connection, reading=reading)
        if guard is not None and not reading:
            guard(connection)
    except BaseException:
        connection.connection.rollback()
        raise


def open_storage(url: str, *, create: bool = True) -> Storage:
    """Open the storage that the workers of a study share.

    Args:
        url: `sqlite:///path/to/file.db` for the processes of one machine, or
            `postgresql+psycopg://user@host/database` for several machines.
        create: make the file (SQLite) and the tables if they are not there.

    Raises:
        StorageError: if the URL is not valid, the storage cannot be opened, or its tables are
            newer than this lrsearch. Passwords are masked in every message.
    """
    try:
        parsed = parse_url(url)
    except (ArgumentError, ValueError):
        hint = f" (did you mean sqlite:///{url}?)" if url.endswith(".db") else ""
        raise StorageError(
            f"{masked(url)} is not a valid storage URL{hint}; use sqlite:///… on one machine, "
            "postgresql+psycopg://… across several"
        ) from None
    with storage_errors(parsed):
        match parsed.get_backend_name():
            case "sqlite":
                path = sqlite.check_path(parsed, create=create)
                with sqlite.alone(path):
                    return _open(parsed, create)
            case "postgresql":
                return _open(parsed, create)
            case other:
                raise StorageError(
                    f"storage {masked(parsed)}: {other} is not supported; use sqlite:///… on one "
                    "machine, postgresql+psycopg://… across several"
                )


def _open(url: URL, create: bool) -> Storage:
    is_server = url.get_backend_name() == "postgresql"
    options = _engine_options(url) if is_server else {}  # a file is made where it is missing
    with create_engine(url, poolclass=NullPool, **options).begin() as connection:
        if create:
            if is_server:  # for SQLite the caller holds a file lock
                connection.execute(text("SELECT pg_advisory_xact_lock(7236751)"))
            # Optuna's storage makes its tables by itself when it is constructed
            plain = RDBStorage(url.render_as_string(hide_password=False), options or None)
            plain.engine.dispose()
            create_tables(connection)
        version = check_tables(connection)
        checked = made_by_this_optuna(connection)
    storage = Storage(url, checked=checked)
    if version < VERSION:
        with storage.engine.begin() as connection:
            if is_server:
                connection.execute(text("SELECT pg_advisory_xact_lock(7236751)"))
            migrate_tables(connection)
    return storage
