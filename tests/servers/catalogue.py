"""The servers there are, by name: each new one is an entry here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from servers.cassandra import CassandraServer
from servers.clickhouse import ClickhouseServer
from servers.contract import Server
from servers.failure import ServerError
from servers.flink import FlinkCluster
from servers.hdfs import HdfsServer
from servers.iceberg_rest import IcebergRestServer
from servers.kafka import KafkaCluster
from servers.mariadb import MariadbServer
from servers.moto import MotoServer
from servers.nginx import NginxServer
from servers.opensearch import ELASTICSEARCH_8, OPENSEARCH_3, OpensearchServer
from servers.postgres import PostgresServer
from servers.redis import RedisServer
from servers.s3proxy import S3proxyServer
from servers.varnish import VarnishServer
from servers.zookeeper import ZookeeperServer


@dataclass(frozen=True, slots=True)
class Entry:
    """A server: what it is, how to make one, and the variable that makes the tests use one that runs already.

    One that is `optional` is fetched and used only where it is named: other servers stand for its kind.
    """

    about: str
    make: Callable[[], Server]
    variable: str | None = None
    optional: bool = False


SERVERS = {
    "cassandra": Entry("Apache Cassandra, one node, empty", CassandraServer),
    "clickhouse": Entry(
        "the engine of ClickHouse behind its HTTP interface, empty", ClickhouseServer, "HEADWATER_TEST_CLICKHOUSE"
    ),
    "elasticsearch": Entry(
        "Elasticsearch 8, one node, empty", lambda: OpensearchServer(ELASTICSEARCH_8), optional=True
    ),
    "flink": Entry("Apache Flink, a JobManager and two TaskManagers", FlinkCluster),
    "flink-ha": Entry(
        "the same, highly available with a ZooKeeper", lambda: FlinkCluster("flink-ha", is_highly_available=True)
    ),
    "hdfs": Entry("HDFS, one name node and one data node", HdfsServer),
    "iceberg-rest": Entry("Iceberg's REST catalog, empty", IcebergRestServer),
    "kafka": Entry("Apache Kafka, one node (and a listener with TLS and SASL)", KafkaCluster, "HEADWATER_TEST_KAFKA"),
    "kafka-cluster": Entry("Apache Kafka, three nodes", lambda: KafkaCluster("kafka-cluster", node_count=3)),
    "mariadb": Entry("MariaDB, empty", MariadbServer),
    "moto": Entry("moto, an S3 in memory", MotoServer),
    "nginx": Entry("nginx, a cache that can be purged", NginxServer),
    "opensearch": Entry("OpenSearch 2, one node, empty", OpensearchServer),
    "opensearch-3": Entry("OpenSearch 3, one node, empty", lambda: OpensearchServer(OPENSEARCH_3), optional=True),
    "postgres": Entry("PostgreSQL, empty", PostgresServer),
    "redis": Entry("Redis, empty", RedisServer),
    "s3proxy": Entry("S3Proxy, an S3 on disk that checks signatures", S3proxyServer),
    "varnish": Entry("Varnish, a cache that can be purged", VarnishServer, optional=True),
    "zookeeper": Entry("Apache ZooKeeper, one node, empty", ZookeeperServer),
}


def entry_named(name: str) -> Entry:
    """:raises ServerError: there is no server of that name."""
    if name not in SERVERS:
        raise ServerError(f"there is no server {name!r}; there are: {', '.join(SERVERS)}")
    return SERVERS[name]
