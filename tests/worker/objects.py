"""A store of objects on this machine, and its protocol for fsspec: `objects://user:password@…`."""

import threading
from base64 import b64encode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.error import HTTPError
from urllib.parse import quote, unquote, urlsplit
from urllib.request import Request, urlopen

import fsspec


class Server(ThreadingHTTPServer):
    """Keeps objects by their paths; they are put whole, or not at all."""

    def __init__(self, user, password):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = (
            f"objects://{user}:{quote(password, safe='')}@127.0.0.1:{self.server_port}/bucket"
        )
        self.login = basic(user, password)
        self.objects = {}
        self.broken = False
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def close(self):
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    def handle_one(self):
        objects, body = self.server.objects, b""
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.server.broken or self.headers["Authorization"] != self.server.login:
            status = 500
        elif self.command == "PUT":
            status, objects[self.path] = 200, content
        elif self.path.endswith("/"):
            status, body = 200, "\n".join(p for p in objects if p.startswith(self.path)).encode()
        elif self.path not in objects:
            status = 404
        else:
            status, body = 200, objects[self.path] if self.command == "GET" else b""
            if self.command == "DELETE":
                del objects[self.path]
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_DELETE = handle_one  # noqa: N815 (http.server's names)

    def log_message(self, *args):
        """Say nothing."""


class Objects(fsspec.AbstractFileSystem):
    """Its client, which tells all it knows where it fails, as some do."""

    protocol = "objects"

    def __init__(self, login, base, told, **options):
        super().__init__(**options)
        self.login, self.base, self.told = login, base, told

    @staticmethod
    def _get_kwargs_from_urls(url):
        parts = urlsplit(url)
        base = f"http://{parts.hostname}:{parts.port}"
        password = unquote(parts.password)
        return {"login": basic(parts.username, password), "base": base, "told": (url, password)}

    @classmethod
    def _strip_protocol(cls, path):
        return urlsplit(path).path if "://" in path else path

    def request(self, method, path, content=None):
        headers = {"Authorization": self.login}
        try:
            with urlopen(Request(self.base + path, content, headers, method=method)) as answer:
                return answer.read()
        except HTTPError as error:
            error.close()
            if error.code == 404:
                raise FileNotFoundError(path) from None
            raise RuntimeError(f"{error.code} of {method} {path} as {self.told}") from error

    def pipe_file(self, path, value, **_options):
        self.request("PUT", path, value)

    def cat_file(self, path, **_options):
        return self.request("GET", path)

    def ls(self, path, detail=True, **_options):
        return self.request("GET", f"{path}/").decode().split()

    def rm_file(self, path):
        self.request("DELETE", path)


def basic(user, password):
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


fsspec.register_implementation("objects", Objects)
