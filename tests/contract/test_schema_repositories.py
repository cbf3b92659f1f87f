"""Every schema repository keeps the contract, wherever its schemas are."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from headwater.schemas.remote import RemoteRepository
from headwater.schemas.repository import LayeredRepository, LocalRepository, SchemaRepository
from headwater.schemas.workspace.working_settings import WorkingSettings
from headwater.testing.suites.schema_repository import NewRepository, SchemaRepositorySuite
from headwater.web.schemas.pages_changes import IndexedRepository
from headwater.web.schemas.repository_index import RepositoryIndexes


class TestLocalRepository(SchemaRepositorySuite):
    implementations = (LocalRepository,)

    @pytest.fixture
    def new_repository(self) -> NewRepository:
        return LocalRepository


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


class TestRemoteRepository(SchemaRepositorySuite):
    implementations = (RemoteRepository,)
    lists = False

    @pytest.fixture
    def new_repository(self) -> Iterator[NewRepository]:
        servers: list[tuple[ThreadingHTTPServer, threading.Thread]] = []

        def new(base: Path) -> SchemaRepository:
            server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(base)))
            server.daemon_threads = True
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            servers.append((server, thread))
            return RemoteRepository(f"http://127.0.0.1:{server.server_port}/", 20.0)

        yield new
        for server, thread in servers:
            server.shutdown()
            server.server_close()
            thread.join()


class TestLayeredRepository(SchemaRepositorySuite):
    implementations = (LayeredRepository,)

    @pytest.fixture
    def new_repository(self, tmp_path: Path) -> NewRepository:
        (tmp_path / "empty").mkdir()
        return lambda base: LayeredRepository([LocalRepository(tmp_path / "empty"), LocalRepository(base)])


class TestShelfRepository(SchemaRepositorySuite):
    implementations = (IndexedRepository,)

    @pytest.fixture
    def new_repository(self) -> NewRepository:
        return lambda base: IndexedRepository(RepositoryIndexes.of([("one", WorkingSettings(base))]))
