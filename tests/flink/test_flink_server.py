"""The Flink cluster of the tests is real: its TaskManagers can be killed, and come back."""

from __future__ import annotations

import pytest

from headwater.testing.eventually import eventually_blocking
from servers.flink import FlinkCluster

pytestmark = pytest.mark.timeout(300)


def test_a_taskmanager_can_be_killed_and_started_again(flink_cluster: FlinkCluster) -> None:
    assert flink_cluster.ask("/overview")["slots-total"] == 2 * flink_cluster.slots
    flink_cluster.kill_taskmanager(2)
    eventually_blocking(lambda: flink_cluster.ask("/overview")["taskmanagers"] == 1)
    flink_cluster.restart_taskmanager(2)
    assert flink_cluster.ask("/overview")["taskmanagers"] == 2


def test_its_library_has_the_connector_and_what_runs_python(flink_cluster: FlinkCluster) -> None:
    names = {link.name for link in (flink_cluster.folder / "lib").iterdir()}
    assert flink_cluster.connector_jar.name in names
    assert any(name.startswith("flink-python-") for name in names)
