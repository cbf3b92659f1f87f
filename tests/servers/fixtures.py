"""The fixtures that hand real servers to tests: started when first asked for, shared, ended with the session.

How this works: a server that cannot be had skips the tests that ask for it, with the reason, or fails them where
HEADWATER_REQUIRE names it. A server that can be had but does not start is an error, never a skip.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from requirements import is_required
from second_attempts import mark_tests_of_servers
from servers.cassandra import CassandraServer
from servers.catalogue import SERVERS, entry_named
from servers.clickhouse import ClickhouseServer
from servers.contract import Server
from servers.failure import ServerError
from servers.flink import FlinkCluster
from servers.hdfs import HdfsServer
from servers.iceberg_rest import IcebergRestServer
from servers.kafka import KafkaCluster, SecureListener
from servers.mariadb import MariadbServer
from servers.moto import MotoServer
from servers.nginx import NginxServer
from servers.opensearch import OpensearchServer
from servers.postgres import PostgresServer
from servers.redis import RedisServer
from servers.run import Run
from servers.s3proxy import S3proxyServer
from servers.varnish import VarnishServer

Needs = Callable[[str, object, str], None]

# A test that asks for one of these, itself or through another fixture, runs against a real server.
SERVER_FIXTURES = frozenset(
    {
        "cache",
        "cassandra",
        "clickhouse_url",
        "flink_cluster",
        "flink_ha",
        "hdfs",
        "iceberg_rest",
        "kafka_alone",
        "kafka_cluster",
        "kafka_secure",
        "kafka_server",
        "mariadb",
        "moto",
        "opensearch",
        "postgres",
        "redis_server",
        "s3proxy",
        "search_server",
    }
)

OPTIONAL_SEARCH_SERVERS = ("opensearch-3", "elasticsearch")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mark_tests_of_servers(items, SERVER_FIXTURES)


class ServerSession:
    """The servers of one test session, each started once."""

    def __init__(self, needs: Needs) -> None:
        self._needs = needs
        self._running: dict[str, Server] = {}
        self._unavailable: dict[str, str] = {}
        self._ends = ExitStack()

    def server(self, name: str, *, requirement: str) -> Server:
        """The running server `name`; where it cannot be had, the test is skipped, or fails where that is required.

        :raises ServerError: it can be had but did not start.
        """
        if name not in self._running:
            server = self.available(name, requirement=requirement)
            run = Run.create(name)
            self._ends.callback(run.remove)
            self._ends.callback(run.end_processes, grace_seconds=0)
            self._ends.callback(server.stop)
            run.set_ready(server.start(run))
            self._running[name] = server
        return self._running[name]

    def available(self, name: str, *, requirement: str) -> Server:
        """A server `name` to start; where it cannot be had, the test is skipped, or fails where that is required.

        One that is optional is had only where it is required.
        """
        entry = entry_named(name)
        named = not entry.optional or is_required(requirement)
        self._needs(requirement, named, f"it is optional; HEADWATER_REQUIRE={requirement} has the tests use it")
        server = entry.make()
        self._needs(requirement, not (reason := self._reason(name, server)), reason)
        return server

    def _reason(self, name: str, server: Server) -> str:
        """Why the server cannot be had; empty when it can. Found out once: fetching may take its time to fail."""
        if name not in self._unavailable:
            reason = server.missing() or ""
            if not reason:
                try:
                    server.resolve()
                except ServerError as error:
                    reason = str(error)
            self._unavailable[name] = reason
        return self._unavailable[name]

    def end(self) -> None:
        """End every server that was started."""
        self._ends.close()


@pytest.fixture(scope="session")
def server_session(needs: Needs) -> Iterator[ServerSession]:
    """The servers of this session."""
    session = ServerSession(needs)
    try:
        yield session
    finally:
        session.end()


@pytest.fixture(scope="session")
def _kafka_client(needs: Needs) -> None:
    needs("kafka", importlib.util.find_spec("confluent_kafka"), "install the extra: pip install 'headwater[kafka]'")


@pytest.fixture(scope="session")
def kafka_server(server_session: ServerSession, _kafka_client: None) -> str:
    """`HOST:PORT` of a Kafka of one node, shared by the session: give topics and groups names of their own.

    HEADWATER_TEST_KAFKA names one that runs already.
    """
    named = os.environ.get(SERVERS["kafka"].variable or "")
    return named or _kafka(server_session, "kafka").bootstrap


@pytest.fixture(scope="session")
def kafka_secure(server_session: ServerSession, _kafka_client: None) -> SecureListener:
    """The listener of a Kafka that demands TLS and SASL: its address, the certificate to trust, user and password."""
    secure = _kafka(server_session, "kafka").secure
    assert secure is not None
    return secure


@pytest.fixture
def kafka_cluster(server_session: ServerSession, _kafka_client: None) -> Iterator[KafkaCluster]:
    """A Kafka of three nodes (1, 2, 3) that a test may kill, pause, resume and restart; whole again after each test."""
    cluster = _kafka(server_session, "kafka-cluster")
    yield cluster
    cluster.heal()


@pytest.fixture(scope="module")
def kafka_alone(server_session: ServerSession, _kafka_client: None) -> Iterator[KafkaCluster]:
    """A Kafka of one node (1) for the tests of one module, empty at first, that they may kill, pause and restart."""
    cluster = server_session.available("kafka", requirement="kafka")
    assert isinstance(cluster, KafkaCluster)
    with ExitStack() as ends:
        run = Run.create("kafka-alone")
        ends.callback(run.remove)
        ends.callback(run.end_processes, grace_seconds=0)
        ends.callback(cluster.stop)
        run.set_ready(cluster.start(run))
        yield cluster


@pytest.fixture(scope="session")
def postgres(server_session: ServerSession) -> PostgresServer:
    """A PostgreSQL, shared by the session: remove the tables a test makes."""
    server = server_session.server("postgres", requirement="postgres")
    assert isinstance(server, PostgresServer)
    return server


@pytest.fixture(scope="session")
def mariadb(server_session: ServerSession) -> MariadbServer:
    """A MariaDB, shared by the session: remove the tables a test makes."""
    server = server_session.server("mariadb", requirement="mariadb")
    assert isinstance(server, MariadbServer)
    return server


@pytest.fixture(scope="session")
def redis_server(server_session: ServerSession) -> RedisServer:
    """A Redis, shared by the session: leave it running and with its memory unlimited. Remove what a test writes."""
    server = server_session.server("redis", requirement="redis")
    assert isinstance(server, RedisServer)
    return server


@pytest.fixture(scope="session")
def moto(server_session: ServerSession) -> MotoServer:
    """An S3, shared by the session: make a bucket for each test with `new_bucket`."""
    server = server_session.server("moto", requirement="moto")
    assert isinstance(server, MotoServer)
    return server


@pytest.fixture(scope="session")
def s3proxy(server_session: ServerSession) -> S3proxyServer:
    """An S3 that checks signatures, shared by the session: leave it running. Make a bucket for each test."""
    server = server_session.server("s3proxy", requirement="s3proxy")
    assert isinstance(server, S3proxyServer)
    return server


@pytest.fixture(scope="session", params=["nginx", "varnish"])
def cache(server_session: ServerSession, request: pytest.FixtureRequest) -> NginxServer | VarnishServer:
    """A cache of each kind, shared by the session: leave it running. Use a host for each test."""
    server = server_session.server(request.param, requirement=request.param)
    assert isinstance(server, NginxServer | VarnishServer)
    return server


@pytest.fixture(scope="session")
def opensearch(server_session: ServerSession) -> OpensearchServer:
    """An OpenSearch, shared by the session: leave it running. Remove the indices a test makes."""
    server = server_session.server("opensearch", requirement="opensearch")
    assert isinstance(server, OpensearchServer)
    return server


@pytest.fixture(scope="session", params=["opensearch", *filter(is_required, OPTIONAL_SEARCH_SERVERS)])
def search_server(server_session: ServerSession, request: pytest.FixtureRequest) -> OpensearchServer:
    """As `opensearch`, and each of the others with its interface that HEADWATER_REQUIRE names."""
    server = server_session.server(request.param, requirement=request.param)
    assert isinstance(server, OpensearchServer)
    return server


@pytest.fixture(scope="session")
def clickhouse_url(server_session: ServerSession) -> str:
    """The URL of a ClickHouse, shared by the session: use databases of your own, and remove them.

    HEADWATER_TEST_CLICKHOUSE names one that runs already.
    """
    if named := os.environ.get(SERVERS["clickhouse"].variable or ""):
        return named
    server = server_session.server("clickhouse", requirement="clickhouse")
    assert isinstance(server, ClickhouseServer)
    return server.url


@pytest.fixture(scope="session")
def cassandra(server_session: ServerSession) -> CassandraServer:
    """A Cassandra, shared by the session: leave it running. Remove the keyspaces a test makes."""
    server = server_session.server("cassandra", requirement="cassandra")
    assert isinstance(server, CassandraServer)
    return server


@pytest.fixture(scope="session")
def _flink(server_session: ServerSession) -> FlinkCluster:
    server = server_session.server("flink", requirement="flink")
    assert isinstance(server, FlinkCluster)
    return server


@pytest.fixture
def flink_cluster(_flink: FlinkCluster) -> Iterator[FlinkCluster]:
    """A Flink of two TaskManagers (1, 2) that a test may kill and restart; whole again, and without jobs, after it."""
    yield _flink
    _flink.heal()


@pytest.fixture(scope="module")
def flink_ha(server_session: ServerSession) -> Iterator[FlinkCluster]:
    """A Flink of two TaskManagers, highly available with a ZooKeeper, for the tests of one module."""
    cluster = server_session.available("flink-ha", requirement="flink")
    assert isinstance(cluster, FlinkCluster)
    with ExitStack() as ends:
        run = Run.create("flink-ha")
        ends.callback(run.remove)
        ends.callback(run.end_processes, grace_seconds=0)
        ends.callback(cluster.stop)
        run.set_ready(cluster.start(run))
        yield cluster


@pytest.fixture(scope="session")
def hdfs(server_session: ServerSession) -> HdfsServer:
    """An HDFS, shared by the session: use a directory of its own for each test."""
    server = server_session.server("hdfs", requirement="hdfs")
    assert isinstance(server, HdfsServer)
    return server


@pytest.fixture(scope="session")
def iceberg_rest(server_session: ServerSession) -> IcebergRestServer:
    """An Iceberg REST catalog, shared by the session: leave it running. Use a namespace of its own for each test."""
    server = server_session.server("iceberg-rest", requirement="iceberg-rest")
    assert isinstance(server, IcebergRestServer)
    return server


def _kafka(session: ServerSession, name: str) -> KafkaCluster:
    server = session.server(name, requirement="kafka")
    assert isinstance(server, KafkaCluster)
    return server
