"""A Varnish for the tests: another cache that can be told to forget a resource, with pages that are made here."""

from __future__ import annotations

import shutil
import threading
import uuid
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from servers.cached_pages import await_pages, page_of
from servers.failure import ServerError
from servers.places import LOOPBACK, free_ports
from servers.processes import ServerProcess
from servers.run import Run
from servers.sql import missing_program

# Compiled with the system's C compiler when it starts.
CONFIGURATION = """
vcl 4.1;
backend default {{ .host = "{address}"; .port = "{origin}"; }}
sub vcl_recv {{ if (req.method == "PURGE") {{ return (purge); }} }}
sub vcl_backend_response {{ set beresp.ttl = 1h; }}
sub vcl_deliver {{ if (obj.hits > 0) {{ set resp.http.X-Cache = "HIT"; }} else {{ set resp.http.X-Cache = "MISS"; }} }}
"""


class _Origin(BaseHTTPRequestHandler):
    """Makes pages, each new each time."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        text = uuid.uuid4().hex.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nothing is printed."""


@dataclass(slots=True)
class VarnishServer:
    """A cache at `url`. A page is new each time that it is made, and cached until it is purged (PURGE, same `Host`)."""

    name: str = "varnish"
    port: int = 0
    _process: ServerProcess | None = None
    _origin: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def missing(self) -> str | None:
        compiler = missing_program({"gcc": shutil.which("gcc")}, "gcc")
        return missing_program({"varnishd": _program()}, "varnish") or compiler

    def resolve(self) -> None:
        if missing := self.missing():
            raise ServerError(missing)

    def start(self, run: Run) -> str:
        folder = run.open_folder(None)
        self._origin = ThreadingHTTPServer((LOOPBACK, 0), _Origin)
        self._origin.daemon_threads = True
        threading.Thread(target=self._origin.serve_forever, daemon=True).start()
        (self.port,) = free_ports(1)
        configuration = folder / "default.vcl"
        configuration.write_text(CONFIGURATION.format(address=LOOPBACK, origin=self._origin.server_address[1]), "utf-8")
        command = [_program() or "varnishd", "-F", "-f", str(configuration), "-a", f"{LOOPBACK}:{self.port}"]
        # Without another user, which cannot be switched to everywhere, and without a port for administration.
        command += ["-n", str(folder / "work"), "-s", "malloc,32m", "-T", "none", "-j", "none"]
        self._process = run.spawn("varnish", command)
        try:
            await_pages(self.port, self._process)
        except BaseException:
            self.stop()
            raise
        return f"{LOOPBACK}:{self.port}"

    def stop(self) -> None:
        if self._process is not None:
            # Asked first: the process that serves is a child of it.
            self._process.end(grace_seconds=10.0)
        if self._origin is not None:
            self._origin.shutdown()
            self._origin.server_close()
            self._origin = None

    def page(self, host: str, target: str) -> tuple[str, str]:
        """Get a page: whether it was cached, `HIT` or `MISS`, and its text."""
        return page_of(self.port, host, target)


def _program() -> str | None:
    # Debian keeps it in a folder that is not on the path of every user.
    return shutil.which("varnishd") or shutil.which("varnishd", path="/usr/sbin")
