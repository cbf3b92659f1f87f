"""The platform's own processes on Kubernetes: those that serve, and the one that runs jobs, sinks and sources.

How this works: on Kafka any number of processes accept events and serve streams (a Deployment, `headwater up --jobs
none`), and one runs the jobs, which keep state in files of their own (a StatefulSet with a volume). On SQLite one
process has the log, so it is all of the platform, and its volume has the log.
"""

from __future__ import annotations

from collections.abc import Sequence

from headwater.deploy.access import platform_access
from headwater.deploy.pods import (
    API_KEYS_DIRECTORY,
    API_KEYS_FILE,
    Manifest,
    config_map,
    container_security,
    labels,
    mounts,
    named,
    object_of,
    pod_annotations,
    pod_spec,
    resources,
    secret_variables,
    selector,
    service_account,
    volumes,
    writable_mount,
)
from headwater.deploy.release import PROJECT_DIRECTORY, WRITABLE, Release

SERVING, JOBS, SHARED_JOBS, PLATFORM = "serving", "jobs", "shared-jobs", "platform"
# Load balancers hear of the end of a pod at the same time as the pod: it goes on serving for as long.
DRAIN_SECONDS = 5
# How long `headwater up` takes at most to stop.
STOP_SECONDS_MAX = 60
GRACE_SECONDS = DRAIN_SECONDS + STOP_SECONDS_MAX + 5
# Compiling the schemas of a large project comes before the first answer.
START_SECONDS_MAX = 300
STATE_SIZE_OF_SERVING = "1Gi"
TEMPORARY_SIZE = "1Gi"


def platform_manifests(release: Release) -> list[Manifest]:
    """Everything that the platform of a project consists of, except jobs on Flink. Raises ConfigInvalid."""
    settings = named(release, "settings")
    common = [config_map(release, settings, PLATFORM), service_account(release, release.name, PLATFORM)]
    if not release.config.log.is_kafka:
        name = release.name
        return [
            *common,
            _service(release, name, PLATFORM),
            _stateful(release, name, PLATFORM, _command(release, jobs=None)),
            *platform_access(release, [PLATFORM]),
        ]
    jobs = named(release, "jobs")
    made = [
        *common,
        _service(release, release.name, SERVING),
        _deployment(release, release.name, SERVING, _command(release, jobs="none")),
        *_disruption_budget(release),
        *_autoscaler(release),
        _service(release, jobs, JOBS, headless=True),
        _stateful(release, jobs, JOBS, _command(release, jobs=None)),
        *platform_access(release, [SERVING, JOBS, SHARED_JOBS]),
    ]
    if release.config.jobs.shared and release.environment.jobs.shared_replicas:
        shared = named(release, SHARED_JOBS)
        made.append(_deployment(release, shared, SHARED_JOBS, _command(release, jobs="shared")))
    return made


def _command(release: Release, *, jobs: str | None) -> list[str]:
    """The command line of a process; `jobs`: which jobs it runs, None: all."""
    command = ["headwater", "up", "--project", PROJECT_DIRECTORY, "--host", "0.0.0.0"]
    command += ["--port", str(release.port)]
    return command if jobs is None else [*command, "--jobs", jobs]


def _deployment(release: Release, name: str, component: str, command: Sequence[str]) -> Manifest:
    serving, jobs = release.environment.serving, release.environment.jobs
    is_serving = component == SERVING
    scales_itself = is_serving and serving.replicas_max is not None
    replicas = serving.replicas if is_serving else jobs.shared_replicas
    size = serving if is_serving else jobs
    pod = _pod(release, component, command, resources(size.cpu, size.memory, size.memory_max))
    scratch = {"name": WRITABLE, "emptyDir": {"sizeLimit": STATE_SIZE_OF_SERVING}}
    pod["spec"]["volumes"].append(scratch)
    pod["spec"]["topologySpreadConstraints"] = [
        {
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": selector(release, component)},
        }
    ]
    return object_of(
        release,
        "Deployment",
        name,
        component,
        spec={
            # An autoscaler decides, and the number here would set it back each time.
            **({} if scales_itself else {"replicas": replicas}),
            "selector": {"matchLabels": selector(release, component)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": pod,
        },
    )


def _stateful(release: Release, name: str, component: str, command: Sequence[str]) -> Manifest:
    """One process with a volume: a StatefulSet ends the old pod before it starts the new one."""
    options = release.environment.jobs
    storage_class = {"storageClassName": options.storage_class} if options.storage_class else {}
    claim = {
        "metadata": {"name": WRITABLE, "labels": selector(release, component)},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            **storage_class,
            "resources": {"requests": {"storage": options.storage}},
        },
    }
    return object_of(
        release,
        "StatefulSet",
        name,
        component,
        spec={
            "serviceName": name,
            "replicas": 1,
            "selector": {"matchLabels": selector(release, component)},
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
            "template": _pod(release, component, command, resources(options.cpu, options.memory, options.memory_max)),
            "volumeClaimTemplates": [claim],
        },
    )


def _pod(release: Release, component: str, command: Sequence[str], size: Manifest) -> Manifest:
    """The template of a pod whose directory `var` is a volume of that name, which the caller adds."""
    keys = release.environment.api_keys_secret
    key_volumes = [] if keys is None else [{"name": "api-keys", "secret": {"secretName": keys, "defaultMode": 0o440}}]
    return {
        "metadata": {
            "labels": labels(release, component),
            "annotations": pod_annotations(release, metrics_port=release.port),
        },
        "spec": {
            "serviceAccountName": release.name,
            "automountServiceAccountToken": False,
            **pod_spec(release),
            "terminationGracePeriodSeconds": GRACE_SECONDS,
            "containers": [_container(release, command, size)],
            "volumes": [
                *volumes(release, named(release, "settings"), release.references),
                *key_volumes,
                {"name": "temporary", "emptyDir": {"sizeLimit": TEMPORARY_SIZE}},
            ],
        },
    }


def _container(release: Release, command: Sequence[str], size: Manifest) -> Manifest:
    variables = [
        {"name": "HOME", "value": "/tmp"},
        {"name": "PYTHONDONTWRITEBYTECODE", "value": "1"},
        *secret_variables(release, release.references),
    ]
    directories = [*mounts(release.references), writable_mount(), {"name": "temporary", "mountPath": "/tmp"}]
    if release.environment.api_keys_secret is not None:
        variables.append({"name": "HEADWATER_CONTROL_API_KEYS_PATH", "value": f"{API_KEYS_DIRECTORY}/{API_KEYS_FILE}"})
        # A whole directory: a single file would not change with the Secret.
        directories.append({"name": "api-keys", "mountPath": API_KEYS_DIRECTORY, "readOnly": True})
    return {
        "name": "headwater",
        "image": release.environment.image,
        "command": [command[0]],
        "args": list(command[1:]),
        "ports": [{"name": "http", "containerPort": release.port}],
        "env": variables,
        "resources": size,
        "securityContext": container_security(),
        "startupProbe": _probe("/healthz", period=2, timeout=2, failures=START_SECONDS_MAX // 2),
        "livenessProbe": _probe("/healthz", period=10, timeout=5, failures=3),
        "readinessProbe": _probe("/readyz", period=5, timeout=3, failures=2),
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(DRAIN_SECONDS)]}}},
        "volumeMounts": directories,
    }


def _probe(path: str, *, period: int, timeout: int, failures: int) -> Manifest:
    # Hosts without a dot are always answered, whatever `web.hosts` lists; the address of a pod is not.
    return {
        "httpGet": {"path": path, "port": "http", "httpHeaders": [{"name": "Host", "value": "localhost"}]},
        "periodSeconds": period,
        "timeoutSeconds": timeout,
        "failureThreshold": failures,
    }


def _service(release: Release, name: str, component: str, *, headless: bool = False) -> Manifest:
    return object_of(
        release,
        "Service",
        name,
        component,
        spec={
            **({"clusterIP": "None"} if headless else {"type": "ClusterIP"}),
            "selector": selector(release, component),
            "ports": [{"name": "http", "port": 80 if not headless else release.port, "targetPort": "http"}],
        },
    )


def _disruption_budget(release: Release) -> list[Manifest]:
    """None for a single process: it could never be moved to another node."""
    if release.environment.serving.replicas < 2:
        return []
    return [
        object_of(
            release,
            "PodDisruptionBudget",
            release.name,
            SERVING,
            spec={"maxUnavailable": 1, "selector": {"matchLabels": selector(release, SERVING)}},
        )
    ]


def _autoscaler(release: Release) -> list[Manifest]:
    """By processors only: accepting events is what they are used for."""
    serving = release.environment.serving
    if serving.replicas_max is None:
        return []
    metric = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": serving.cpu_percent}}
    return [
        object_of(
            release,
            "HorizontalPodAutoscaler",
            release.name,
            SERVING,
            spec={
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": release.name},
                "minReplicas": serving.replicas,
                "maxReplicas": serving.replicas_max,
                "metrics": [{"type": "Resource", "resource": metric}],
                # Clients of streams reconnect when a process ends: not with each change of the load.
                "behavior": {"scaleDown": {"stabilizationWindowSeconds": 600}},
            },
        )
    ]
