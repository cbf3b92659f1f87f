"""Who may connect to the pods of a project (NetworkPolicy), and where Prometheus finds their metrics (PodMonitor).

How this works: a policy lists what is accepted, and refuses all else. Flink answers everybody who reaches its ports,
and runs what it is given there; so only its own pods, the platform's and the operator's reach them. Where connections
go to is not restricted: brokers, stores and other services are known to their own networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headwater.deploy.pods import Manifest, named, object_of, selector
from headwater.deploy.release import Release
from headwater.errors import ConfigInvalid

FLINK_REST_PORT = 8081
_NAMESPACE_NAME = "kubernetes.io/metadata.name"


def platform_access(release: Release, components: Sequence[str]) -> list[Manifest]:
    """Those of the platform's own pods: any client may connect to the port that they serve."""
    pods = {
        "matchLabels": _of_release(release),
        "matchExpressions": [
            {"key": "app.kubernetes.io/component", "operator": "In", "values": list(components)},
        ],
    }
    policy = _policy(release, release.name, components[0], pods, [{"ports": [_port("http")]}])
    monitor = _monitor(release, release.name, components[0], pods, "http")
    return [*_policies(release, policy), *_monitors(release, monitor)]


def flink_access(release: Release, component: str) -> list[Manifest]:
    """Those of the pods of jobs on Flink. Raises ConfigInvalid if it is not known where Flink's operator is."""
    own = {"matchLabels": selector(release, component)}
    name = named(release, "flink")
    policies = []
    if release.environment.network.policies:
        rest = [_port(FLINK_REST_PORT)]
        operator = {"namespaceSelector": {"matchLabels": {_NAMESPACE_NAME: _operator_namespace(release)}}}
        ingress = [
            {"from": [{"podSelector": own}]},
            {"from": [{"podSelector": {"matchLabels": _of_release(release)}}, operator], "ports": rest},
            {"ports": [_port("metrics")]},
        ]
        policies = [_policy(release, name, component, own, ingress)]
    return [*policies, *_monitors(release, _monitor(release, name, component, own, "metrics"))]


def _policies(release: Release, policy: Manifest) -> list[Manifest]:
    return [policy] if release.environment.network.policies else []


def _monitors(release: Release, monitor: Manifest) -> list[Manifest]:
    return [monitor] if release.environment.prometheus == "pod_monitor" else []


def _policy(release: Release, name: str, component: str, pods: Manifest, ingress: Sequence[Manifest]) -> Manifest:
    spec = {"podSelector": pods, "policyTypes": ["Ingress"], "ingress": list(ingress)}
    return object_of(release, "NetworkPolicy", name, component, spec=spec)


def _monitor(release: Release, name: str, component: str, pods: Manifest, port: str) -> Manifest:
    endpoint = {"port": port, "path": "/metrics"}
    return object_of(release, "PodMonitor", name, component, spec={"selector": pods, "podMetricsEndpoints": [endpoint]})


def _port(port: int | str) -> dict[str, Any]:
    return {"protocol": "TCP", "port": port}


def _of_release(release: Release) -> dict[str, str]:
    """The labels that all pods of the project have."""
    found = selector(release, "")
    return {key: value for key, value in found.items() if value}


def _operator_namespace(release: Release) -> str:
    found = release.environment.network.flink_operator_namespace
    if found is None:
        raise ConfigInvalid(
            "The environment has network.policies, and does not name the namespace of Flink's operator, which asks the"
            " jobs on Flink how they are doing.",
            hint="Write `network: {policies: true, flink_operator_namespace: NAME}` there.",
        )
    return found
