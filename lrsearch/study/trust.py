"""Whose code a stored study may run here: what this user has made a study of, or vouches for.

A study names code (`task.run`, a network, callbacks) that workers import. Who can write to the
database can name any module that this machine has, so a study that comes from elsewhere has to be
vouched for once, before anything of it is imported.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from platformdirs import user_state_path

from lrsearch.errors import StudyError
from lrsearch.storage import masked
from lrsearch.study.study import SPEC, Study
from lrsearch.tasks import IN_PROCESS

log = logging.getLogger(__name__)

_CODE = re.compile(r"[\w.]+:[\w.]+")
_OWN = re.compile(rf"lrsearch\.(tasks\.fashion_mnist|tracking):\w+|{IN_PROCESS}:.*")
"""Code of lrsearch's own that is made for study files; or none that can be imported.

Not any of its modules: `lrsearch.worker:work` would train what another database says.
"""


def named_code(study: Study) -> list[str]:
    """Return what a study names of code that is not lrsearch's, as `module:attribute`."""
    stored = study.spec.to_dict()
    named = _texts([stored["task"], stored["space"], stored["workers"]])
    return sorted({text for text in named if _CODE.fullmatch(text) and not _OWN.fullmatch(text)})


def vouch(study: Study) -> None:
    """Remember for this user that a study may run the code that it names."""
    if not (code := named_code(study)):
        return
    path = _record(study)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{study.name}: {', '.join(code)}\n", encoding="utf-8")
    except OSError as error:
        log.warning("cannot remember that study %r is trusted: %s", study.name, error)


def check_vouched(study: Study) -> None:
    """Refuse a study that names code, and that this user has neither made nor vouched for.

    Raises:
        StudyError: naming the code, the database and what helps.
    """
    code = named_code(study)
    if code and not _record(study).exists():
        raise StudyError(
            f"study {study.name!r} in {masked(study.storage.engine.url)} would import and run "
            f"{', '.join(code)} on this machine, and you have not launched it here. If you know "
            "that code, and who can write to that database, add --trust (or set LRSEARCH_TRUST=1, "
            "as for a batch system); or launch its study file here: lrsearch launch STUDY.toml"
        )


def _record(study: Study) -> Path:
    """Return the file that says so; of another study, or of one that was changed, it is another."""
    spec: dict[str, Any] = study.optuna.user_attrs[SPEC]
    identity = json.dumps([study.files.name, spec], sort_keys=True)
    return user_state_path("lrsearch") / "trusted" / sha256(identity.encode()).hexdigest()


def _texts(value: Any) -> Iterator[str]:
    """Yield every text within a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)
