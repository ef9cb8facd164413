"""Checkpoints of running trials: one file each, written whole or not at all, and sealed."""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import suppress
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

from lrsearch.errors import StorageError

_SEAL = b"lrsearch sha256:"
"""Stands behind the state, with the checksum of it: a flipped bit is other numbers in silence."""
_SEAL_SIZE = len(_SEAL) + sha256().digest_size


class Checkpoints:
    """The checkpoints of a study's trials, by trial number.

    Each lease writes files of its own, so that a worker that has lost its trial can never write
    over its successor's.

    Args:
        folder: made when the first checkpoint is saved.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, trial: int, lease_id: int, state: dict[str, Any]) -> None:
        """Save a state (tensors, numbers, strings, lists, dicts) in place of this lease's last.

        Raises:
            StorageError: if it cannot be written.
        """
        import torch

        path = self.folder / f"trial-{trial:06}-lease-{lease_id:08}.pt"
        unfinished = path.with_suffix(".part")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            buffer = BytesIO()
            torch.save(state, buffer)
            content = buffer.getbuffer()
            with unfinished.open("wb") as file:
                file.write(content)
                file.write(_SEAL + sha256(content).digest())
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
        except (OSError, RuntimeError) as error:  # torch raises the latter where a disk is full
            with suppress(OSError):
                unfinished.unlink()
            raise StorageError(f"cannot write the checkpoint {path}: {error}") from error

    def load(
        self, trial: int, trained: Collection[tuple[int, int]] | None = None
    ) -> tuple[dict[str, Any] | None, list[Path]]:
        """Return the newest state of a trial that can be used, and the files that cannot before it.

        Args:
            trial: its number.
            trained: the runs and epochs that are stored; a state that is ahead of them cannot be
                used, since what was shown on the way there is lost. Else all can.
        """
        import torch

        damaged: list[Path] = []
        for path in sorted(self.folder.glob(f"trial-{trial:06}-lease-*.pt"), reverse=True):
            try:
                content = _unsealed(path.read_bytes())
                state = torch.load(BytesIO(content), map_location="cpu", weights_only=True)
                run, inner = state["run"], state["state"]
                epoch = state.get("epoch", (inner or {}).get("epoch", 0))  # older ones: the task's
                if trained is not None and any(
                    (run, e) not in trained for e in range(1, epoch + 1)
                ):
                    raise ValueError("it is ahead of the database")
                return {"run": run, "state": inner}, damaged
            except Exception:  # whatever a damaged file makes torch raise
                damaged.append(path)
        return None, damaged

    def trials(self) -> set[int]:
        """Return the numbers of the trials that have left anything."""
        return {int(path.name.split("-")[1]) for path in self.folder.glob("trial-*-lease-*")}

    def remove(self, trial: int) -> None:
        """Remove all that a trial has left."""
        for path in self.folder.glob(f"trial-{trial:06}-lease-*"):
            path.unlink(missing_ok=True)


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
