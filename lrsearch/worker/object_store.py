"""Checkpoints in a store that a URL names, by fsspec: in a cloud, or on another machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import PurePath, PurePosixPath
from typing import Any
from urllib.parse import parse_qsl, unquote

from lrsearch.errors import StorageError, nearest

_INSTALL = "pip install 'lrsearch[files]'"


class ObjectStore:
    """A folder of a store, whose files are written whole or not at all; see `Folder`.

    A store that fails raises `StorageError`, whose message shows no secret of the URL.

    Args:
        url: such as "s3://bucket/path", with any protocol that fsspec knows.

    Raises:
        StorageError: if there is no such protocol, or its package is not installed.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            self._fsspec: Any = import_module("fsspec")
        except ModuleNotFoundError:
            raise StorageError(
                f"checkpoints in {masked_url(url)} (LRSEARCH_FILES) need fsspec: {_INSTALL}"
            ) from None
        for link in url.split("::"):
            self._check(link.partition("://")[0])

    def _check(self, protocol: str) -> None:
        try:
            self._fsspec.get_filesystem_class(protocol)
        except ImportError as error:
            raise StorageError(
                f"checkpoints in {masked_url(self.url)} (LRSEARCH_FILES) need a package ({error}); "
                f"for s3:// and gs://: {_INSTALL}"
            ) from None
        except ValueError:
            known = nearest(protocol, ["s3", "gs", *self._fsspec.available_protocols()])
            raise StorageError(
                f"checkpoints cannot go to {masked_url(self.url)} (LRSEARCH_FILES): "
                f"fsspec knows no {protocol}://; {known}"
            ) from None

    def write(self, name: str, content: bytes) -> None:
        """Write a file in place of what is there."""
        with self._opened(f"cannot write {name} to") as (store, folder):
            try:
                store.pipe_file(f"{folder}/{name}", content)
            except FileNotFoundError:  # it has folders, and not yet this one
                store.makedirs(folder, exist_ok=True)
                store.pipe_file(f"{folder}/{name}", content)

    def read(self, name: str) -> bytes:
        """Return what a file holds."""
        with self._opened(f"cannot read {name} from") as (store, folder):
            content: bytes = store.cat_file(f"{folder}/{name}")
            return content

    def names(self) -> list[str]:
        """Return the names of all files."""
        with self._opened("cannot list") as (store, folder):
            store.invalidate_cache()  # others write there
            try:
                return [PurePosixPath(path).name for path in store.ls(folder, detail=False)]
            except FileNotFoundError:
                return []

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with (
            self._opened(f"cannot remove {name} from") as (store, folder),
            suppress(FileNotFoundError),
        ):
            store.rm_file(f"{folder}/{name}")

    def path(self, name: str) -> PurePath:
        """Return what messages call a file."""
        return PurePosixPath(name)

    @contextmanager
    def _opened(self, what: str) -> Iterator[tuple[Any, str]]:
        """Yield the file system and the folder in it; say what failed where one of them does."""
        store = None
        try:
            store, folder = self._fsspec.core.url_to_fs(self.url)
            yield store, folder.rstrip("/")
        except Exception as error:  # every protocol has errors of its own
            if store is not None:
                store.clear_instance_cache()  # the next one connects anew
            said = f"{type(error).__name__}: {error}"
            # not chained: what is below would be shown with it, secrets and all
            raise StorageError(
                f"{what} {masked_url(self.url)}: {without_secrets(said, self.url)}"
            ) from None


def masked_url(url: str) -> str:
    """Return a store's URL for people to read, without who it says they are.

    Example:
        >>> masked_url("sftp://me:secret@host/lrsearch")
        'sftp://***@host/lrsearch'
    """
    return without_secrets(url, url)


def without_secrets(text: str, url: str) -> str:
    """Return a text without what a store's URL holds of users, passwords and options.

    Example:
        >>> without_secrets("530 secret is wrong", "ftp://me:secret@host")
        '530 *** is wrong'
    """
    for secret in sorted(_secrets(url), key=len, reverse=True):
        text = text.replace(secret, "***")
    return text


def _secrets(url: str) -> Iterator[str]:
    """Yield users with their passwords, passwords, and the values of options."""
    for link in url.split("::"):
        rest = link.partition("://")[2]
        host = rest.partition("/")[0]
        # a password may hold a slash, and a path an @
        user, at, _ = (host if "@" in host or ":" not in host else rest).rpartition("@")
        password = user.partition(":")[2] if at else ""
        values = [value for _, value in parse_qsl(rest.partition("?")[2])]
        pieces = [piece for piece in password.split("/") if len(piece) > 3]  # cut at what looks so
        for secret in [user, password, *values, *pieces]:
            if secret:
                yield secret
                yield unquote(secret)
