"""The errors a user can meet.

    LrsearchError
    ├── ScheduleError      a schedule or warmup that breaks its rule (also a ValueError)
    ├── DomainError        a search domain that breaks its rule (also a ValueError)
    ├── SpecError          a study file that cannot be read or holds a wrong value
    ├── TaskError          a task that cannot be imported, built or run
    │   └── RankLostError  a run that lost one of the processes that train it together
    ├── DataError          training data that is missing or corrupt
    ├── DeviceError        a device that is not there
    ├── StorageError       a storage that cannot be opened, read or written
    ├── ServerError        a database server that cannot be started
    ├── PlacementError     workers that cannot be started where they were to run
    └── StudyError         a study that is missing, changed, stopped or has no result yet

Every message says the value, the rule and the fix; the command line prints it as it is.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from unicodedata import category


def printable(text: str) -> str:
    r"""Return a text whose control characters are escaped: names may hold what rewrites a terminal.

    Example:
        >>> print(printable("a\x1b[2Jb"))
        a\x1b[2Jb
    """
    return "".join(
        sign.encode("unicode_escape").decode() if category(sign) == "Cc" and sign != "\n" else sign
        for sign in text
    )


class LrsearchError(Exception):
    """Base of every error that is the user's to mend."""


class ScheduleError(LrsearchError, ValueError):
    """A schedule or a warmup that breaks its rule."""


class DomainError(LrsearchError, ValueError):
    """A search domain that breaks its rule."""


class SpecError(LrsearchError):
    """A study file that cannot be read or holds a wrong value."""


class TaskError(LrsearchError):
    """A task that cannot be imported, built or run."""


class RankLostError(TaskError):
    """A run that lost one of the processes that train it together; it can be tried again."""


class DataError(LrsearchError):
    """Training data that is missing or corrupt."""


class DeviceError(LrsearchError):
    """A device that is not there."""


class StorageError(LrsearchError):
    """A storage that cannot be opened, read or written."""


class ServerError(LrsearchError):
    """A database server that cannot be started, stopped or backed up."""


class PlacementError(LrsearchError):
    """Workers that cannot be started where they were to run."""


class StudyError(LrsearchError):
    """A study that is missing, changed, stopped or has no result yet."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown `word`: the nearest of `known`, or all.

    Example:
        >>> nearest("cosin", ["constant", "cosine", "step"])
        "did you mean 'cosine'?"
    """
    known = sorted(known)
    close = get_close_matches(word, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
