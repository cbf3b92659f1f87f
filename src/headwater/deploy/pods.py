"""What the pods of a project have in common: labels, users, directories, probes, settings and secrets."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from typing import Any

from headwater.config import CONFIG_FILE
from headwater.deploy.names import label
from headwater.deploy.release import PROJECT_DIRECTORY, WRITABLE, References, Release

# The manifests use nothing that is newer than this version of Kubernetes.
KUBERNETES_VERSION_MIN = "1.29"
CHECKSUM = "headwater/config-checksum"
USER_ID = 10_001
API_KEYS_FILE = "api-keys.json"
API_KEYS_DIRECTORY = "/run/headwater/api-keys"
SECRET_VOLUME = "secret-files"

Manifest = dict[str, Any]

API_VERSIONS = {
    "ConfigMap": "v1",
    "Deployment": "apps/v1",
    "FlinkDeployment": "flink.apache.org/v1beta1",
    "HorizontalPodAutoscaler": "autoscaling/v2",
    "NetworkPolicy": "networking.k8s.io/v1",
    "PodDisruptionBudget": "policy/v1",
    "PodMonitor": "monitoring.coreos.com/v1",
    "Role": "rbac.authorization.k8s.io/v1",
    "RoleBinding": "rbac.authorization.k8s.io/v1",
    "Service": "v1",
    "ServiceAccount": "v1",
    "StatefulSet": "apps/v1",
}


def object_of(release: Release, kind: str, name: str, component: str, **content: Any) -> Manifest:
    """An object of this kind, with its head: version, name and labels. `content`: its other fields."""
    namespace = release.environment.namespace
    head = {"name": name, **({"namespace": namespace} if namespace else {}), "labels": labels(release, component)}
    return {"apiVersion": API_VERSIONS[kind], "kind": kind, "metadata": head, **content}


def labels(release: Release, component: str) -> dict[str, str]:
    """The labels of an object and of its pods."""
    return {
        **{key: str(value) for key, value in release.environment.labels.items()},
        **selector(release, component),
        "app.kubernetes.io/managed-by": "headwater",
    }


def selector(release: Release, component: str) -> dict[str, str]:
    """The labels by which pods are found; they never change."""
    return {
        "app.kubernetes.io/name": "headwater",
        "app.kubernetes.io/instance": release.name,
        "app.kubernetes.io/component": component,
    }


def config_map(release: Release, name: str, component: str) -> Manifest:
    """The settings of the project, as they are in this environment."""
    return object_of(release, "ConfigMap", name, component, data={CONFIG_FILE: release.settings})


def pod_annotations(release: Release, *, metrics_port: int) -> dict[str, str]:
    """Those of a pod: with other settings it is replaced, and Prometheus finds its metrics, unless by a PodMonitor."""
    if release.environment.prometheus == "pod_monitor":
        return {CHECKSUM: release.checksum}
    return {
        CHECKSUM: release.checksum,
        "prometheus.io/scrape": "true",
        "prometheus.io/port": str(metrics_port),
        "prometheus.io/path": "/metrics",
    }


def pod_spec(release: Release, *, user_id: int = USER_ID) -> Manifest:
    """What all pods have."""
    names = release.environment.image_pull_secrets
    return {
        # Otherwise each Service of the namespace becomes variables, some of which may look like settings.
        "enableServiceLinks": False,
        "securityContext": pod_security(user_id),
        **with_items("imagePullSecrets", [{"name": name} for name in names]),
    }


def pod_security(user_id: int = USER_ID) -> Manifest:
    """No pod runs as root."""
    return {
        "runAsNonRoot": True,
        "runAsUser": user_id,
        "runAsGroup": user_id,
        "fsGroup": user_id,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security(*, read_only: bool = True) -> Manifest:
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": read_only,
        "capabilities": {"drop": ["ALL"]},
    }


def secret_variables(release: Release, references: References) -> list[Manifest]:
    """The variables of a container that are read from the Secret."""
    secret = release.environment.secret
    return [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": name}}} for name in references.variables
    ]


def volumes(release: Release, settings: str, references: References) -> list[Manifest]:
    """The settings and the secret files; `settings` is the name of the ConfigMap."""
    made: list[Manifest] = [{"name": "settings", "configMap": {"name": settings}}]
    if references.files:
        items = [{"key": posixpath.basename(file), "path": posixpath.basename(file)} for file in references.files]
        secret = {"secretName": release.environment.secret, "defaultMode": 0o440, "items": items}
        made.append({"name": SECRET_VOLUME, "secret": secret})
    return made


def mounts(references: References) -> list[Manifest]:
    """Where a container has the settings and the secret files."""
    settings = {"name": "settings", "mountPath": f"{PROJECT_DIRECTORY}/{CONFIG_FILE}", "subPath": CONFIG_FILE}
    files = [
        {"name": SECRET_VOLUME, "mountPath": file, "subPath": posixpath.basename(file), "readOnly": True}
        for file in references.files
    ]
    return [{**settings, "readOnly": True}, *files]


def service_account(release: Release, name: str, component: str) -> Manifest:
    return object_of(release, "ServiceAccount", name, component, automountServiceAccountToken=False)


def named(release: Release, *parts: str) -> str:
    """The name of an object of the release."""
    return label(release.name, *parts)


def resources(cpu: str, memory: str, memory_max: str) -> Manifest:
    """What a container needs. Processors have no limit: a process that is held back answers late."""
    return {"requests": {"cpu": cpu, "memory": memory}, "limits": {"memory": memory_max}}


def writable_mount() -> Manifest:
    return {"name": WRITABLE, "mountPath": f"{PROJECT_DIRECTORY}/{WRITABLE}"}


def with_items(key: str, items: Sequence[Any] | Mapping[str, Any]) -> Manifest:
    """`{key: items}`, or nothing if there are none."""
    return {key: items} if items else {}
