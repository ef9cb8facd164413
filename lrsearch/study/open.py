"""How a study is opened: by its name, with its own spec and pruner."""

from __future__ import annotations

import optuna

from lrsearch.errors import SpecError, StudyError
from lrsearch.storage import Storage, masked, read_study, study_id_of, study_names
from lrsearch.study.spec import StudySpec
from lrsearch.study.study import SPEC, Study


def confirmation_name(study: str, number: int = 1) -> str:
    """Return the name of the study that confirms another: the first, or one more."""
    return f"{study}-confirmed" if number == 1 else f"{study}-confirmed-{number}"


def open_study(storage: Storage, name: str | None = None, *, latest: int | None = None) -> Study:
    """Open a study, with its own spec and pruner; without a name, the only one.

    What is stored is compared with its checksums: of all trials, or only of so many of the latest.

    Studies that confirm another do not count there.

    Raises:
        StudyError: if there is no such study, or more than one to choose from.
        StorageError: if it is not as it was stored.
    """
    names = study_names(storage)
    url = masked(storage.engine.url)
    if name is None:
        searches = [n for n in names if n.partition(confirmation_name(""))[0] not in {*names} - {n}]
        if len(searches) != 1:
            studies = f"has the studies {', '.join(sorted(names))}" if names else "has no study"
            raise StudyError(f"storage {url} {studies}; name one with --study or launch one")
        name = searches[0]
    if name not in names:
        studies = f"its studies: {', '.join(sorted(names))}" if names else "it has none"
        raise StudyError(f"storage {url} has no study {name!r}; {studies}")
    study = optuna.load_study(study_name=name, storage=storage)
    storage.check(study_id_of(study), name, latest)
    stored = study.user_attrs.get(SPEC)
    if stored is None:
        raise StudyError(f"study {study.study_name!r} was not made by lrsearch: it has no spec")
    try:
        spec = StudySpec.from_dict(stored)
    except SpecError as error:
        raise StudyError(f"the spec stored in study {study.study_name!r}: {error}") from None
    study.pruner = spec.build_pruner()
    row = read_study(storage, study_id_of(study))
    if row is None:  # optuna-dashboard renames a study by copying it
        raise StudyError(
            f"study {study.study_name!r} lacks what lrsearch stores beside it: launch its file "
            "again, under a new name if this one was renamed or copied"
        )
    return Study(storage, study, spec, storage.files / row.files)
