"""A network that goes silent, or drops a connection: no wait is without an end."""

import selectors
import signal
import socket
import sys
import threading

import psycopg
import pytest
from place import check_curves
from sqlalchemy import make_url, text
from sqlalchemy.exc import OperationalError

from lrsearch import open_storage
from lrsearch.storage import postgresql, reason_of


class Proxy:
    """Forwards connections to a server, until it forwards nothing more and keeps them open."""

    def __init__(self, host: str, port: int) -> None:
        self.to = (host, port)
        self.silent = False
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client = self.listener.accept()[0]
            except OSError:
                return
            self.sockets.append(client)
            threading.Thread(target=self._forward, args=(client,), daemon=True).start()

    def _forward(self, client: socket.socket) -> None:
        if self.silent:
            return
        kind = socket.AF_UNIX if self.to[0].startswith("/") else socket.AF_INET
        server = socket.socket(kind)
        server.connect(f"{self.to[0]}/.s.PGSQL.{self.to[1]}" if kind == socket.AF_UNIX else self.to)
        self.sockets.append(server)
        with selectors.DefaultSelector() as selector:
            selector.register(client, selectors.EVENT_READ, server)
            selector.register(server, selectors.EVENT_READ, client)
            while not self.silent:
                for key, _ in selector.select(timeout=0.02):
                    try:
                        data = key.fileobj.recv(65536)
                        if not data or self.silent:
                            break
                        key.data.sendall(data)
                    except OSError:
                        break
                else:
                    continue
                break
        if not self.silent:
            client.close()
            server.close()

    def close(self) -> None:
        for each in (self.listener, *self.sockets):
            each.close()


pytestmark = [
    pytest.mark.slow,
    pytest.mark.parametrize("storage_url", ["postgresql"], indirect=True),
]


@pytest.fixture
def proxy(storage_url):
    url = make_url(storage_url)
    proxy = Proxy(url.query.get("host") or url.host, int(url.query.get("port") or url.port or 5432))
    yield proxy
    proxy.close()


def through(proxy, storage_url):
    """Return the storage's URL through the proxy."""
    url = make_url(storage_url)
    url = url.difference_update_query(["host", "port"])
    return url.set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False)


def test_a_silent_network_ends_in_an_error_and_at_once_where_the_process_is_to_leave(
    storage_url, proxy, monkeypatch
):
    storage = open_storage(through(proxy, storage_url))
    with storage.engine.connect() as connection:
        connection.execute(text("SELECT 1"))
        monkeypatch.setattr(postgresql, "ANSWER", 0.5)
        proxy.silent = True
        with pytest.raises(OperationalError) as caught:
            connection.execute(text("SELECT 1"))
        assert "no answer from the server" in reason_of(caught.value)
        assert caught.value.connection_invalidated


def test_the_server_ends_what_takes_too_long(storage_url, monkeypatch):
    storage = open_storage(storage_url)
    storage.engine.dispose()
    monkeypatch.setattr(postgresql, "ANSWER", 2.0)
    with storage.engine.connect() as connection:
        monkeypatch.setattr(postgresql, "ANSWER", 900.0)
        with pytest.raises(OperationalError, match="statement timeout"):
            connection.execute(text("SELECT pg_sleep(900)"))


WORK = (
    "import sys; from lrsearch.storage import postgresql as p; p.ANSWER = float(sys.argv[1]); "
    "from lrsearch.cli import main; sys.argv = ['lrsearch', 'work', '--device', 'cpu']; main()"
)


def test_a_worker_whose_network_is_silent_loses_its_trial_and_leaves_on_sigterm(
    storage_url, proxy, place, exact
):
    place.url = storage_url
    study = place.create("trouble:Fake", trials=3, workers={"lease": 5.0})
    place.hold()
    place.url = through(proxy, storage_url)
    cut_off = place.run(sys.executable, "-c", WORK, "1000")
    place.wait_until_held()
    proxy.silent = True
    place.let_go()
    place.url = storage_url
    assert place.end(place.start("work")) == 0
    assert [trial.state.name for trial in study.optuna.trials] == ["COMPLETE"] * 3
    assert cut_off.poll() is None
    cut_off.send_signal(signal.SIGTERM)
    assert place.end(cut_off) == 0
    assert "Traceback" not in place.logs()
    check_curves(study)


def test_a_worker_whose_connection_is_ended_as_it_begins_begins_again(storage_url, place):
    """The server ends every connection while the worker reads the study."""
    place.url = storage_url
    study = place.create("trouble:Fake", trials=1)
    code = (
        "import lrsearch.worker.worker as w; real = w.open_study; times = []\n"
        "from sqlalchemy import text\n"
        "def open_study(storage, name):\n"
        "    if not times:\n"
        "        times.append(1)\n"
        "        with storage.engine.connect() as connection:\n"
        "            connection.execute(text('SELECT pg_terminate_backend(pg_backend_pid())'))\n"
        "    return real(storage, name)\n"
        "w.open_study = open_study\n"
        "import sys; sys.argv = ['lrsearch', 'work', '--device', 'cpu']\n"
        "from lrsearch.cli import main; main()"
    )
    worker = place.run(sys.executable, "-c", code)
    assert place.end(worker) == 0, place.said(worker)
    assert "the storage fails, trying again" in place.said(worker)
    assert "Traceback" not in place.said(worker)
    assert study.optuna.trials[0].state.name == "COMPLETE"


def test_the_wait_until_a_connection_is_given_up_holds_for_connecting_too(
    storage_url, proxy, monkeypatch
):
    monkeypatch.setattr(postgresql, "CONNECT", 2.0)
    waits = []
    real = psycopg.Connection.connect.__func__

    def connect(cls, *args, **kwargs):
        waits.append(kwargs.get("connect_timeout"))  # else psycopg's own, of minutes
        return real(cls, *args, **kwargs)

    monkeypatch.setattr(psycopg.Connection, "connect", classmethod(connect))
    proxy.silent = True
    with pytest.raises(Exception, match="timeout expired"):
        open_storage(through(proxy, storage_url))
    assert set(waits) == {2}
