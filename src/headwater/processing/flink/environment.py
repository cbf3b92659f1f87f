"""Where a Flink job is built: for a mini-cluster here, for a session cluster, or for what has started this process."""

from __future__ import annotations

from pyflink.common import Configuration
from pyflink.datastream import StreamExecutionEnvironment
from pyflink.java_gateway import get_gateway

from headwater.processing.flink.asked import LOCAL, Asked


def environment_of(asked: Asked, configuration: Configuration) -> StreamExecutionEnvironment:
    """Where the job is started with this configuration.

    Java alone can make the environment of a cluster: a target in the configuration is read only by Flink's own
    command line, and everything else would start a mini-cluster.
    """
    if asked.cluster in (None, LOCAL):
        return StreamExecutionEnvironment.get_execution_environment(configuration)
    host, _, port = asked.cluster.rpartition(":")
    gateway = get_gateway()
    # The library of the cluster has all archives.
    archives = gateway.new_array(gateway.jvm.java.lang.String, 0)
    java = gateway.jvm.org.apache.flink.streaming.api.environment.RemoteStreamEnvironment(
        host.strip("[]"), int(port), configuration._j_configuration, archives
    )
    return StreamExecutionEnvironment(java)
