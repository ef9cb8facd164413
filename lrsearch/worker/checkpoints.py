"""Checkpoints of running trials: one file each, written whole or not at all, and sealed."""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress
from hashlib import sha256
from io import BytesIO
from pathlib import Path, PurePath
from typing import Any, Protocol

from lrsearch.errors import StorageError
from lrsearch.worker.object_store import ObjectStore

_SEAL = b"lrsearch sha256:"
"""Stands behind the state, with the checksum of it: a flipped bit is other numbers in silence."""
_SEAL_SIZE = len(_SEAL) + sha256().digest_size


class Folder(Protocol):
    """What holds the files; one that cannot raises `StorageError` or `OSError`."""

    def write(self, name: str, content: bytes) -> None:
        """Write a file in place of what is there, whole or not at all."""
        ...

    def read(self, name: str) -> bytes:
        """Return what a file holds."""
        ...

    def names(self) -> list[str]:
        """Return the names of all files."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        ...

    def path(self, name: str) -> PurePath:
        """Return what messages call a file."""
        ...


class LocalFolder:
    """A folder of this machine; made when the first file is written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, content: bytes) -> None:
        """Write a file beside, flush it to the disk, and rename it."""
        path = self.folder / name
        unfinished = path.with_suffix(".part")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with unfinished.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
        except OSError as error:
            with suppress(OSError):
                unfinished.unlink()
            raise StorageError(f"cannot write the checkpoint {path}: {error}") from error

    def read(self, name: str) -> bytes:
        """Return what a file holds."""
        return (self.folder / name).read_bytes()

    def names(self) -> list[str]:
        """Return the names of all files."""
        return [path.name for path in self.folder.iterdir()] if self.folder.exists() else []

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        (self.folder / name).unlink(missing_ok=True)

    def path(self, name: str) -> PurePath:
        """Return its path."""
        return self.folder / name


class Checkpoints:
    """The checkpoints of a study's trials, by trial number.

    Each lease writes files of its own, so that a worker that has lost its trial can never write
    over its successor's.

    Args:
        folder: a folder of this machine, made when the first checkpoint is saved; or a URL.

    Raises:
        StorageError: if nothing here can use the URL.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = folder
        self._files: Folder = (
            ObjectStore(folder) if isinstance(folder, str) else LocalFolder(folder)
        )

    @property
    def remote(self) -> bool:
        """Whether they are in a store elsewhere, which takes time to answer."""
        return isinstance(self.folder, str)

    def save(self, trial: int, lease_id: int, state: dict[str, Any]) -> None:
        """Save a state (tensors, numbers, strings, lists, dicts) in place of this lease's last.

        Raises:
            StorageError: if it cannot be written.
        """
        import torch

        buffer = BytesIO()
        try:
            torch.save(state, buffer)
        except RuntimeError as error:
            raise StorageError(f"cannot make a checkpoint of trial {trial}: {error}") from error
        digest = sha256(buffer.getbuffer()).digest()
        buffer.write(_SEAL + digest)
        self._files.write(f"trial-{trial:06}-lease-{lease_id:08}.pt", buffer.getvalue())

    def load(
        self, trial: int, trained: Collection[tuple[int, int]] | None = None
    ) -> tuple[dict[str, Any] | None, list[PurePath]]:
        """Return the newest state of a trial that can be used, and the files that cannot before it.

        Args:
            trial: its number.
            trained: the runs and epochs that are stored; a state that is ahead of them cannot be
                used, since what was shown on the way there is lost. Else all can.

        Raises:
            StorageError: if a store elsewhere cannot be read.
        """
        import torch

        damaged: list[PurePath] = []
        for name in sorted(self._names(trial), reverse=True):
            if not name.endswith(".pt"):
                continue
            try:
                content = _unsealed(self._files.read(name))
                state = torch.load(BytesIO(content), map_location="cpu", weights_only=True)
                run, inner = state["run"], state["state"]
                epoch = state.get("epoch", (inner or {}).get("epoch", 0))  # older ones: the task's
                if trained is not None and any(
                    (run, e) not in trained for e in range(1, epoch + 1)
                ):
                    raise ValueError("it is ahead of the database")
                return {"run": run, "state": inner}, damaged
            except StorageError:
                raise
            except Exception:  # whatever a damaged file makes torch raise
                damaged.append(self._files.path(name))
        return None, damaged

    def trials(self) -> set[int]:
        """Return the numbers of the trials that have left anything.

        Raises:
            StorageError: if a store elsewhere cannot be read.
        """
        return {int(name.split("-")[1]) for name in self._names()}

    def remove(self, trial: int) -> None:
        """Remove all that a trial has left.

        Raises:
            StorageError: if a store elsewhere cannot be reached.
        """
        for name in self._names(trial):
            self._files.remove(name)

    def _names(self, trial: int | None = None) -> list[str]:
        """Return the names of the files of all trials, or of one."""
        begins = "trial-" if trial is None else f"trial-{trial:06}-lease-"
        names = self._files.names()
        return [name for name in names if name.startswith(begins) and "-lease-" in name]


def _unsealed(content: bytes) -> bytes:
    """Return what a seal stands behind; all of it where an older lrsearch wrote none.

    Raises:
        ValueError: if it is not what was written.
    """
    body, seal = content[:-_SEAL_SIZE], content[-_SEAL_SIZE:]
    if not seal.startswith(_SEAL):
        return content
    if sha256(body).digest() != seal[len(_SEAL) :]:
        raise ValueError("the checksum differs")
    return body
