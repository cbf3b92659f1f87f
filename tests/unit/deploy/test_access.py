"""Who reaches the pods, and where Prometheus finds their metrics: by labels and ports that the pods have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deploying.projects import KAFKA, new_release
from deploying.schemas import pods_of
from headwater.deploy.flink_manifests import flink_manifests
from headwater.deploy.platform_manifests import platform_manifests
from headwater.deploy.release import Release
from headwater.errors import ConfigInvalid

FLINK = {"image": "registry.example.org/shop-flink:1.4.0", "storage": "s3://shop/flink/"}
WRITTEN: dict[str, Any] = {
    "settings": {**KAFKA, "jobs": {"shared": True}},
    "prometheus": "pod_monitor",
    "network": {"policies": True, "flink_operator_namespace": "operators"},
    "flink": FLINK,
}


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return new_release(tmp_path, WRITTEN)


def of_kind(manifests: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = [one for one in manifests if one["kind"] == kind]
    return found


def selects(selector: dict[str, Any], pod: dict[str, Any]) -> bool:
    """As Kubernetes does."""
    labels = pod["metadata"]["labels"]
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        labels.get(one["key"]) in one["values"] for one in selector.get("matchExpressions", ())
    )


def flink_pod(manifests: list[dict[str, Any]]) -> dict[str, Any]:
    pod: dict[str, Any] = of_kind(manifests, "FlinkDeployment")["spec"]["podTemplate"]
    return pod


def test_each_pod_has_one_policy_and_one_monitor_with_a_port_of_its_own(release: Release) -> None:
    platform, flink = platform_manifests(release), flink_manifests(release, ["page_edits"])
    pods = [pod for manifest in platform for pod in pods_of(manifest) if manifest["kind"] != "PodMonitor"]
    assert len(pods) == 3
    for pod in (*pods, flink_pod(flink)):
        (monitor,) = [
            one for one in (*platform, *flink) if one["kind"] == "PodMonitor" and selects(one["spec"]["selector"], pod)
        ]
        (policy,) = [
            one
            for one in (*platform, *flink)
            if one["kind"] == "NetworkPolicy" and selects(one["spec"]["podSelector"], pod)
        ]
        ports = {port["name"] for port in pod["spec"]["containers"][0]["ports"]}
        (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
        assert endpoint["port"] in ports
        # Prometheus, wherever it is, reaches it.
        assert [rule for rule in policy["spec"]["ingress"] if "from" not in rule] == [
            {"ports": [{"protocol": "TCP", "port": endpoint["port"]}]}
        ]
        # Nothing is found twice.
        assert not [key for key in pod["metadata"]["annotations"] if key.startswith("prometheus.io/")]


def test_only_the_platform_and_the_operator_reach_flinks_interface(release: Release) -> None:
    manifests = flink_manifests(release, ["page_edits"])
    among_themselves, rest, _ = of_kind(manifests, "NetworkPolicy")["spec"]["ingress"]
    (own,) = among_themselves["from"]
    assert "ports" not in among_themselves
    assert selects(own["podSelector"], flink_pod(manifests))
    platform, operator = rest["from"]
    assert rest["ports"] == [{"protocol": "TCP", "port": 8081}]
    for pod in (pod for manifest in platform_manifests(release) for pod in pods_of(manifest)):
        assert selects(platform["podSelector"], pod)
        assert not selects(own["podSelector"], pod)
    assert operator == {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "operators"}}}


def test_nothing_is_written_that_was_not_asked_for(tmp_path: Path) -> None:
    release = new_release(tmp_path, {"settings": KAFKA, "flink": FLINK})
    kinds = {one["kind"] for one in (*platform_manifests(release), *flink_manifests(release, ["page_edits"]))}
    assert not kinds & {"NetworkPolicy", "PodMonitor"}


def test_the_namespace_of_the_operator_must_be_known(tmp_path: Path) -> None:
    release = new_release(tmp_path, {**WRITTEN, "network": {"policies": True}})
    platform_manifests(release)
    with pytest.raises(ConfigInvalid, match=r"does not name the namespace of Flink's operator") as refused:
        flink_manifests(release, ["page_edits"])
    assert "flink_operator_namespace" in str(refused.value.hint)
