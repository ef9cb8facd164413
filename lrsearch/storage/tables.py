"""Our own tables, beside Optuna's in the same database.

Times are seconds since 1970 (UTC); but leases expire by a clock that nobody sets (`lease_clock`).
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Connection,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    delete,
    insert,
    inspect,
    or_,
    select,
    text,
    update,
)

from lrsearch.errors import StorageError
from lrsearch.storage.optuna_private import studies as optuna_studies

VERSION = 5
"""Version of this schema. A change of a table raises it and adds the step that migrates to it."""

metadata = MetaData()

versions = Table("lrsearch_version", metadata, Column("version", Integer, nullable=False))

studies = Table(
    "lrsearch_studies",
    metadata,
    Column("study_id", Integer, primary_key=True, autoincrement=False),
    Column("files", String(64), nullable=False),
    Column("target", Integer, nullable=False),
    Column("stopping", Boolean, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("epochs", Integer),
    Column("seconds", Float),
    Column("deadline", Float),
)
"""A study's folder, its budgets, whether its workers are to leave, failures in a row.

Its budgets are trials that are to begin (`target`), epochs and seconds (none for no limit); seconds
count from the first claim, which sets the deadline.
The folder's name is never used again, unlike the study's id.
"""

workers = Table(
    "lrsearch_workers",
    metadata,
    Column("worker_id", String(64), primary_key=True),
    Column("study_id", Integer, nullable=False, index=True),
    Column("host", String(255), nullable=False),
    Column("pid", Integer, nullable=False),
    Column("device", String(64), nullable=False),
    Column("started", Float, nullable=False),
    Column("last_seen", Float, nullable=False),
    Column("epochs", Integer, nullable=False),
    Column("ended", Float),
    Column("process", String(128), nullable=False, default=""),
)
"""Every worker that ever joined a study, and how many epochs it was the first to train.

`process` tells its process from another that has the same id (`process_mark`).
"""

leases = Table(
    "lrsearch_leases",
    metadata,
    Column("lease_id", Integer, primary_key=True),
    Column("study_id", Integer, nullable=False),
    Column("trial_id", Integer, nullable=False, index=True),
    Column("worker_id", String(64), nullable=False),
    Column("begun", Float, nullable=False),
    Column("expires", Float, nullable=False),
    Column("ended", Float),
    Column("rung", Integer),
    Column("epochs", Integer),
    Column("trained", Integer, nullable=False, default=0),
)
"""Which worker had which trial when: a row for each time that one takes it. At most one is open.

Where trials climb rungs, `rung` is the one to train, of so many epochs; −1 if the trial is to end.
`trained` counts the epochs that were trained for the first time.
"""

Index("lrsearch_open_leases", leases.c.study_id, leases.c.ended)

metrics = Table(
    "lrsearch_metrics",
    metadata,
    Column("study_id", Integer, primary_key=True, autoincrement=False),
    Column("trial", Integer, primary_key=True, autoincrement=False),
    Column("run", Integer, primary_key=True, autoincrement=False),
    Column("epoch", Integer, primary_key=True, autoincrement=False),
    Column("step", Integer, nullable=False),
    Column("lr", Float, nullable=False),
    Column("metrics", JSON, nullable=False),
    Column("recorded", Float, nullable=False),
    Column("curve", JSON),
    Column("checksum", BigInteger),
)
"""What a trial (by its number) showed after each epoch of each of its runs.

`curve` holds points within the epoch, `[[step, metrics], …]`, `checksum` is of the row
(`storage.seals`); none where nobody kept them.
"""

seals = Table(
    "lrsearch_seals",
    metadata,
    Column("study_id", Integer, primary_key=True, autoincrement=False),
    Column("trial", Integer, primary_key=True, autoincrement=False),
    Column("state", String(16), nullable=False),
    Column("digest", String(64), nullable=False),
)
"""Checksums of what is stored of a trial (by its number) in a state, and of the study (−1)."""


def create_tables(connection: Connection) -> None:
    """Create what is missing, in a transaction of the caller's; leave the rest alone."""
    metadata.create_all(connection)
    # claims count trials by state; without this they would read every trial's row
    index = "CREATE INDEX IF NOT EXISTS lrsearch_trial_states ON trials (study_id, state)"
    connection.execute(text(index))
    if connection.execute(select(versions.c.version)).scalar() is None:
        connection.execute(insert(versions).values(version=VERSION))


_MIGRATIONS: dict[int, tuple[str, ...]] = {
    2: (
        "ALTER TABLE lrsearch_studies ADD COLUMN epochs INTEGER",
        "ALTER TABLE lrsearch_studies ADD COLUMN seconds FLOAT",
        "ALTER TABLE lrsearch_studies ADD COLUMN deadline FLOAT",
        "ALTER TABLE lrsearch_leases ADD COLUMN rung INTEGER",
        "ALTER TABLE lrsearch_leases ADD COLUMN epochs INTEGER",
    ),
    3: (
        "ALTER TABLE lrsearch_workers ADD COLUMN process VARCHAR(128) NOT NULL DEFAULT ''",
        # nobody counted: as if each had trained, since who has not is given up after some
        "ALTER TABLE lrsearch_leases ADD COLUMN trained INTEGER NOT NULL DEFAULT 1",
    ),
    4: ("ALTER TABLE lrsearch_metrics ADD COLUMN curve JSON",),
    5: (
        "CREATE TABLE IF NOT EXISTS lrsearch_seals (study_id INTEGER NOT NULL, "
        "trial INTEGER NOT NULL, state VARCHAR(16) NOT NULL, digest VARCHAR(64) NOT NULL, "
        "PRIMARY KEY (study_id, trial))",
        "ALTER TABLE lrsearch_metrics ADD COLUMN checksum BIGINT",
    ),
}
"""By the version that they lead to, the statements that change tables of the one before it."""


def migrate_tables(connection: Connection) -> None:
    """Bring tables of an older version up to date, in a transaction of the caller's."""
    before = connection.execute(select(versions.c.version)).scalar_one()
    for version in range(before + 1, VERSION + 1):
        for statement in _MIGRATIONS[version]:
            connection.execute(text(statement))
    connection.execute(update(versions).values(version=max(before, VERSION)))


def check_tables(connection: Connection) -> int:
    """Refuse tables that this lrsearch does not know; return their version.

    Raises:
        StorageError: if there are none, or a newer lrsearch wrote them.
    """
    if not inspect(connection).has_table(versions.name):
        raise StorageError("this storage has no lrsearch study in it; launch one first")
    version = connection.execute(select(versions.c.version)).scalar_one()
    if version > VERSION:
        raise StorageError(
            f"this storage has version {version} of lrsearch's tables, and this lrsearch knows "
            f"{VERSION}; upgrade lrsearch"
        )
    return int(version)


def forget(connection: Connection, study_id: int) -> None:
    """Delete our rows of a study that is about to begin, and of all that Optuna has deleted.

    SQLite gives the id of a deleted study to the next one.
    """
    living = select(optuna_studies.c.study_id)
    for table in (studies, workers, leases, metrics, seals):
        gone = or_(table.c.study_id == study_id, table.c.study_id.not_in(living))
        connection.execute(delete(table).where(gone))
