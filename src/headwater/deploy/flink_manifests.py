"""A job on Flink in Kubernetes: an application of Flink's operator, with its settings, its rights and its storage.

How this works: the operator starts a JobManager that runs the job's entry, which in turn asks Kubernetes for
TaskManagers (native mode, application mode). Each has one slot, since Python in one process uses one processor.
Checkpoints, savepoints and what JobManagers must remember are in one place of an S3-compatible store; who leads, and
which checkpoint is the newest, is in ConfigMaps or in ZooKeeper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from headwater.declaration import suggestion
from headwater.deploy.access import flink_access
from headwater.deploy.container_files import FLINK_HOME, FLINK_PYTHON, FLINK_USER_ID, FLINK_VERSION
from headwater.deploy.environment import FlinkOptions
from headwater.deploy.names import APPLICATION_CHARACTERS_MAX, label
from headwater.deploy.pods import (
    Manifest,
    config_map,
    container_security,
    labels,
    mounts,
    named,
    object_of,
    pod_annotations,
    pod_spec,
    secret_variables,
    volumes,
)
from headwater.deploy.release import PROJECT_DIRECTORY, Release
from headwater.errors import ConfigInvalid
from headwater.jobs.job import Job
from headwater.processing.contract import require_supported
from headwater.processing.flink.execution import execution_options
from headwater.processing.flink.features import unsupported_reasons

ENTRY = "headwater.processing.flink.entry"
COMPONENT = "flink"
METRICS_PORT = 9249
S3_PLUGIN = f"flink-s3-fs-presto-{FLINK_VERSION}.jar"
S3_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
# The operator's name for the version, which it must know.
VERSION_NAME = "v2_2"
CHECKPOINTS_KEPT = 3
# What Flink reaches into of Java 17 and newer: the operator writes a configuration of its own, without Flink's.
_EXPORTED = (
    "java.rmi/sun.rmi.registry",
    *(f"jdk.compiler/com.sun.tools.javac.{package}" for package in ("api", "file", "parser", "tree", "util")),
    "java.security.jgss/sun.security.krb5",
)
_OPENED = ("lang", "net", "io", "nio", "lang.reflect", "text", "time", "util")
_OPENED_CONCURRENT = ("", ".atomic", ".locks")


@dataclass(frozen=True, slots=True)
class Backfill:
    """A run over a part of history next to the job: what was received from `since` to before `until`, times in UTC in
    the ISO format. Its name makes the consumer group and all else that is its own.
    """

    since: str
    until: str

    @property
    def name(self) -> str:
        digits = ("".join(filter(str.isdigit, time.removesuffix(":00Z"))) for time in (self.since, self.until))
        return "-".join(("backfill", *digits))


def flink_manifests(release: Release, names: Sequence[str], backfill: Backfill | None = None) -> list[Manifest]:
    """The applications of these jobs, or of a backfill of each, and what they share.

    Raises ConfigInvalid; JobInvalid, with all reasons, for a job that Flink cannot run.
    """
    jobs = [_job(release, name) for name in names]
    shared = [*_rights(release), *flink_access(release, COMPONENT)]
    return [*shared, *(manifest for job in jobs for manifest in _application(release, job, backfill))]


def _job(release: Release, name: str) -> Job:
    found = {job.name: job for job in release.jobs}
    if name not in found:
        raise ConfigInvalid(f"There is no job {name}.", hint=suggestion(name, found))
    require_supported(found[name], unsupported_reasons(found[name], release.config))
    return found[name]


def _application(release: Release, job: Job, backfill: Backfill | None) -> list[Manifest]:
    options = release.environment.flink_options(job.name)
    parts = (release.name, job.name, *(() if backfill is None else (backfill.name,)))
    name = label(*parts, characters_max=APPLICATION_CHARACTERS_MAX)
    settings = label(*parts, "settings")
    parallelism = options.parallelism or release.config.flink.parallelism
    deployment = object_of(
        release,
        "FlinkDeployment",
        name,
        COMPONENT,
        spec={
            "image": _required(options, "image"),
            "imagePullPolicy": "IfNotPresent",
            "flinkVersion": VERSION_NAME,
            "mode": "native",
            "serviceAccount": named(release, "flink"),
            "flinkConfiguration": _configuration(release, job, options, name),
            "podTemplate": _pod_template(release, job, options, settings),
            "jobManager": {
                "replicas": options.job_managers,
                "resource": {"cpu": options.job_manager_cpu, "memory": options.job_manager_memory},
            },
            "taskManager": {"resource": {"cpu": options.task_manager_cpu, "memory": options.task_manager_memory}},
            "job": {
                # The operator needs one; it is in lib/ already.
                "jarURI": f"local://{FLINK_HOME}/opt/flink-python-{FLINK_VERSION}.jar",
                "entryClass": "org.apache.flink.client.python.PythonDriver",
                "args": _arguments(job, parallelism, backfill),
                "parallelism": parallelism,
                # A backfill that is changed begins again: what it writes again has the same ids.
                "upgradeMode": options.upgrade if backfill is None else "stateless",
                "state": "running",
                # A step that is gone loses its state only when somebody says so.
                "allowNonRestoredState": False,
            },
        },
    )
    return [config_map(release, settings, COMPONENT), deployment]


def _arguments(job: Job, parallelism: int, backfill: Backfill | None) -> list[str]:
    entry = ["-pym", ENTRY, "--project", PROJECT_DIRECTORY, "--job", job.name, "--parallelism", str(parallelism)]
    if backfill is None:
        return entry
    return [*entry, "--release", backfill.name, "--since", backfill.since, "--until", backfill.until]


def _configuration(release: Release, job: Job, options: FlinkOptions, name: str) -> dict[str, str]:
    """The options of Flink, by their dotted names."""
    storage = f"{_required(options, 'storage').rstrip('/')}/{name}"
    made = {
        "taskmanager.numberOfTaskSlots": "1",
        # The native library of the Python archive can be loaded only once in a JVM, so by one class loader.
        "classloader.resolve-order": "parent-first",
        "env.java.opts.all": java_options(),
        "python.executable": FLINK_PYTHON,
        "python.client.executable": FLINK_PYTHON,
        "state.backend.type": "rocksdb",
        "execution.checkpointing.incremental": "true",
        "execution.checkpointing.num-retained": str(CHECKPOINTS_KEPT),
        "execution.checkpointing.dir": f"{storage}/checkpoints",
        "execution.checkpointing.savepoint-dir": f"{storage}/savepoints",
        **execution_options(release.config, needs_process=job.awaits),
        **_high_availability(options, storage, release.name),
        "metrics.reporters": "prometheus",
        "metrics.reporter.prometheus.factory.class": ("org.apache.flink.metrics.prometheus.PrometheusReporterFactory"),
        "metrics.reporter.prometheus.port": str(METRICS_PORT),
    }
    if options.s3_endpoint is not None:
        made["s3.endpoint"] = options.s3_endpoint
    if options.s3_path_style:
        made["s3.path.style.access"] = "true"
    # The operator sets it to the parallelism of the job.
    made.pop("parallelism.default", None)
    made |= {key: _text(value) for key, value in options.configuration.items()}
    return dict(sorted(made.items()))


def java_options() -> str:
    """The options of Java that Flink needs."""
    opened = [
        *(f"java.base/java.{package}" for package in _OPENED),
        *(f"java.base/java.util.concurrent{package}" for package in _OPENED_CONCURRENT),
        "java.base/sun.nio.ch",
    ]
    exports = [f"--add-exports={package}=ALL-UNNAMED" for package in _EXPORTED]
    return " ".join([*exports, *(f"--add-opens={package}=ALL-UNNAMED" for package in opened)])


def _high_availability(options: FlinkOptions, storage: str, root: str) -> dict[str, str]:
    made = {"high-availability.type": options.high_availability, "high-availability.storageDir": f"{storage}/ha"}
    if options.high_availability == "zookeeper":
        if options.zookeeper is None:
            raise ConfigInvalid(
                "The environment has flink.high_availability: zookeeper, and no flink.zookeeper.",
                hint="Write `zookeeper: HOST:PORT[,HOST:PORT…]` there.",
            )
        made["high-availability.zookeeper.quorum"] = options.zookeeper
        made["high-availability.zookeeper.path.root"] = f"/headwater/{root}"
    return made


def _pod_template(release: Release, job: Job, options: FlinkOptions, settings: str) -> Manifest:
    references = release.log_references
    keys: list[Manifest] = []
    if options.s3_secret is not None:
        keys = [
            {"name": key, "valueFrom": {"secretKeyRef": {"name": options.s3_secret, "key": key}}} for key in S3_KEYS
        ]
    container = {
        # The name that Flink looks for.
        "name": "flink-main-container",
        "env": [
            {"name": "ENABLE_BUILT_IN_PLUGINS", "value": S3_PLUGIN},
            {"name": "HOME", "value": "/tmp"},
            *keys,
            *secret_variables(release, references),
        ],
        "ports": [{"name": "metrics", "containerPort": METRICS_PORT}],
        # The entry of Flink's image links plugins into its own directory.
        "securityContext": container_security(read_only=False),
        "volumeMounts": mounts(references),
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "labels": {**labels(release, COMPONENT), "headwater/job": label(job.name)},
            "annotations": pod_annotations(release, metrics_port=METRICS_PORT),
        },
        "spec": {
            **pod_spec(release, user_id=FLINK_USER_ID),
            "containers": [container],
            "volumes": volumes(release, settings, references),
        },
    }


def _rights(release: Release) -> list[Manifest]:
    """The account of JobManagers and TaskManagers: they start and end pods, and keep in ConfigMaps who leads."""
    name = named(release, "flink")
    account = object_of(release, "ServiceAccount", name, COMPONENT)
    verbs = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
    role = object_of(
        release,
        "Role",
        name,
        COMPONENT,
        rules=[
            {"apiGroups": [""], "resources": ["pods", "configmaps"], "verbs": verbs},
            {"apiGroups": ["apps"], "resources": ["deployments", "deployments/finalizers"], "verbs": verbs},
        ],
    )
    namespace = release.environment.namespace
    subject = {"kind": "ServiceAccount", "name": name, **({"namespace": namespace} if namespace else {})}
    binding = object_of(
        release,
        "RoleBinding",
        name,
        COMPONENT,
        roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        subjects=[subject],
    )
    return [account, role, binding]


def _required(options: FlinkOptions, key: str) -> str:
    value: str | None = getattr(options, key)
    if value is None:
        example = {"image": "REGISTRY/NAME:TAG", "storage": "s3://BUCKET/PREFIX"}[key]
        raise ConfigInvalid(
            f"Jobs on Flink need flink.{key} in the environment.", hint=f"Write `{key}: {example}` there."
        )
    return value


def _text(value: Any) -> str:
    """The value of an option of Flink, all of which are texts."""
    return str(value).lower() if isinstance(value, bool) else str(value)
