"""An nginx for the tests: a cache that can be told to forget a resource, in front of pages that it makes itself."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from servers.cached_pages import await_pages, page_of
from servers.failure import ServerError
from servers.places import LOOPBACK, free_ports
from servers.processes import ServerProcess
from servers.run import Run
from servers.sql import missing_program

# The module comes in a package of its own.
MODULE = "ngx_http_cache_purge_module.so"
MODULE_FOLDERS = (Path("/usr/lib/nginx/modules"), Path("/usr/lib64/nginx/modules"))
# One process, so that it ends with its parent. A purge has a location of its own: in the location of the pages, as the
# module's documentation has it, it ends the process with a segmentation fault.
CONFIGURATION = """
load_module {module};
daemon off;
master_process off;
pid {folder}/pid;
error_log stderr notice;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  proxy_cache_path {folder}/cache keys_zone=pages:1m;
  server {{
    listen {address}:{port};
    location = /__purge {{
      internal;
      proxy_cache_purge pages $host$request_uri;
    }}
    location / {{
      if ($request_method = PURGE) {{ rewrite ^ /__purge last; }}
      proxy_pass http://{address}:{origin};
      proxy_cache pages;
      proxy_cache_key $host$request_uri;
      proxy_cache_valid 200 1h;
      add_header X-Cache $upstream_cache_status;
    }}
  }}
  server {{
    listen {address}:{origin};
    location / {{ return 200 "$request_id"; }}
  }}
}}
"""


@dataclass(slots=True)
class NginxServer:
    """A cache at `url`. A page is new each time that it is made, and cached until it is purged (PURGE, same `Host`)."""

    name: str = "nginx"
    port: int = 0
    _run: Run | None = None
    _configuration: Path | None = None
    _process: ServerProcess | None = None

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def missing(self) -> str | None:
        program = missing_program({"nginx": _program()}, "nginx")
        module = missing_program({MODULE: _module()}, "libnginx-mod-http-cache-purge")
        return program or module

    def resolve(self) -> None:
        if missing := self.missing():
            raise ServerError(missing)

    def start(self, run: Run) -> str:
        folder = run.open_folder(None)
        self.port, origin = free_ports(2)
        self._run, self._configuration = run, folder / "nginx.conf"
        written = CONFIGURATION.format(module=_module(), folder=folder, address=LOOPBACK, port=self.port, origin=origin)
        self._configuration.write_text(written, "utf-8")
        self.restart()
        return f"{LOOPBACK}:{self.port}"

    def restart(self) -> None:
        """Start it with what it has cached, ended first if it runs."""
        self.stop()
        assert self._run is not None
        assert self._configuration is not None
        command = [_program() or "nginx", "-c", str(self._configuration), "-e", "stderr"]
        self._process = self._run.spawn("nginx", [*command, "-p", str(self._configuration.parent)])
        try:
            await_pages(self.port, self._process)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it as a power failure would (SIGKILL)."""
        if self._process is not None:
            self._process.end()

    def page(self, host: str, target: str) -> tuple[str, str]:
        """Get a page: whether it was cached, `HIT` or `MISS`, and its text."""
        return page_of(self.port, host, target)


def _program() -> str | None:
    # Debian keeps it in a folder that is not on the path of every user.
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")


def _module() -> str | None:
    return next((str(folder / MODULE) for folder in MODULE_FOLDERS if (folder / MODULE).is_file()), None)
