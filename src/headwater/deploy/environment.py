"""The file of an environment that a project is deployed to (`deploy.yaml`): images, sizes, names of secrets."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from headwater.declaration import Declaration, KeyPath, read_declaration
from headwater.deploy.names import LABEL, LABEL_CHARACTERS_MAX
from headwater.errors import ConfigInvalid
from headwater.options import accept, fields_of, inner_section
from headwater.settings import setting

ENVIRONMENT_FILE = "deploy.yaml"
# A tag or a digest behind the last slash: a registry may have a port.
_PINNED_IMAGE = re.compile(r"[^\s@]+(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}|@sha256:[0-9a-f]{64})\Z")
_QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?")
# As Flink writes it: `m` and `g` are binary.
_FLINK_MEMORY = re.compile(r"[0-9]+ ?(m|g|mb|gb)")


@dataclass(frozen=True, slots=True)
class ServingOptions:
    """The processes that accept events and serve streams, if the log is Kafka."""

    replicas: int = setting(2, "How many there are; with `replicas_max` the least.", at_least=1, at_most=1_000)
    replicas_max: int | None = setting(
        None,
        "Up to how many there are, by their use of processors (a HorizontalPodAutoscaler); null: always `replicas`.",
        at_least=2,
        at_most=1_000,
    )
    cpu_percent: int = setting(
        70, "The part of `cpu` above which further ones are started.", at_least=10, at_most=1_000
    )
    cpu: str = setting(
        "500m", "The processors that are reserved for each. There is no limit: one process uses about 1."
    )
    memory: str = setting("256Mi", "The memory that is reserved for each.")
    memory_max: str = setting("512Mi", "The memory at which one is ended.")


@dataclass(frozen=True, slots=True)
class JobsOptions:
    """The process that runs the jobs, sinks and sources; on SQLite, all of the platform."""

    cpu: str = setting("500m", "The processors that are reserved.")
    memory: str = setting("512Mi", "The memory that is reserved.")
    memory_max: str = setting("1Gi", "The memory at which it is ended.")
    storage: str = setting("10Gi", "The size of its volume: the state of jobs and their tables; on SQLite, the log.")
    storage_class: str | None = setting(None, "The storage class of this volume; null: the cluster's default.")
    shared_replicas: int = setting(
        1,
        "How many processes share the jobs without state, besides this one, if `jobs.shared` is true; 0: none.",
        at_least=0,
        at_most=1_000,
    )


@dataclass(frozen=True, slots=True)
class FlinkOptions:
    """How the jobs run that `flink.jobs` in the settings names. How often they checkpoint, their guarantee and mode are
    settings as well.
    """

    image: str | None = setting(None, "The image of `Containerfile.flink`, with a tag or digest.")
    storage: str | None = setting(
        None,
        "Where checkpoints, savepoints and the state of JobManagers are stored: `s3://BUCKET/PREFIX`.",
        starts_with=("s3://",),
    )
    s3_endpoint: str | None = setting(
        None, "The address of an S3-compatible store; null: Amazon's.", starts_with=("http://", "https://")
    )
    s3_path_style: bool = setting(False, "Whether the bucket is part of the path, as most S3-compatible stores need.")
    s3_secret: str | None = setting(
        None,
        "The Secret with the keys `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`; null: pods need none.",
    )
    high_availability: Literal["kubernetes", "zookeeper"] = setting(
        "kubernetes",
        "Where JobManagers elect a leader and record the newest checkpoint: in ConfigMaps, or in ZooKeeper.",
    )
    zookeeper: str | None = setting(None, "ZooKeeper: `HOST:PORT[,HOST:PORT…]`.")
    upgrade: Literal["last-state", "savepoint"] = setting(
        "last-state",
        "What a changed job continues from: its newest checkpoint, or a savepoint that is taken for it.",
    )
    parallelism: int | None = setting(
        None,
        "In how many parts a job runs, each in a TaskManager of its own; null: as the setting `flink.parallelism`.",
        at_least=1,
        at_most=128,
    )
    job_managers: int = setting(
        1, "How many JobManagers a job has; a second one takes over faster.", at_least=1, at_most=3
    )
    job_manager_cpu: float = setting(0.5, "The processors of a JobManager.", at_least=0.1)
    job_manager_memory: str = setting("1600m", "The memory of a JobManager.")
    task_manager_cpu: float = setting(1.0, "The processors of a TaskManager.", at_least=0.1)
    task_manager_memory: str = setting("2048m", "The memory of a TaskManager.")
    configuration: Mapping[str, Any] = setting(
        {}, "Further options of Flink by their dotted names; they override those that are made."
    )
    jobs: Mapping[str, Any] = setting(
        {},
        "Of these options, those that are others for a job, by its name, such as `{page_content: {parallelism: 4}}`.",
    )


@dataclass(frozen=True, slots=True)
class NetworkOptions:
    """Which connections to the pods are accepted."""

    policies: bool = setting(
        False,
        "Whether NetworkPolicies are written: any client reaches the port that the platform serves, and the ports of "
        "Flink only its own pods, the platform's, and Flink's operator. Where pods connect to is not restricted.",
    )
    flink_operator_namespace: str | None = setting(
        None, "The namespace of Flink's operator, which `policies` let connect to the jobs on Flink."
    )


@dataclass(frozen=True, slots=True)
class Environment:
    """Where and how a project is deployed."""

    image: str = setting(
        "", "The image of `Containerfile`, with a tag or digest, such as `registry.example.org/my-platform:1.4.0`."
    )
    name: str | None = setting(
        None, "What the names of all objects begin with; null: the name of the project's directory."
    )
    namespace: str | None = setting(None, "The namespace that is written into all objects; null: none is.")
    labels: Mapping[str, Any] = setting({}, "Labels of all objects and pods, in addition to those that are made.")
    image_pull_secrets: tuple[str, ...] = setting((), "The Secrets with the credentials of the registry.")
    settings: Mapping[str, Any] = setting(
        {}, "Settings of headwater.yaml that are others here, in its form, such as `{log: kafka://kafka:9092}`."
    )
    secret: str | None = setting(
        None,
        "The Secret with the values of `${env:NAME}`, under the key NAME, and `${file:PATH}`, under the file's name.",
    )
    api_keys_secret: str | None = setting(
        None, "The Secret with the file of API keys, under the key `api-keys.json`; null: there are no keys."
    )
    prometheus: Literal["annotations", "pod_monitor"] = setting(
        "annotations",
        "How Prometheus finds the metrics of pods: by their annotations, or by a PodMonitor of its operator.",
    )
    network: NetworkOptions = field(default_factory=NetworkOptions, metadata={"section": NetworkOptions})
    serving: ServingOptions = field(default_factory=ServingOptions, metadata={"section": ServingOptions})
    jobs: JobsOptions = field(default_factory=JobsOptions, metadata={"section": JobsOptions})
    flink: FlinkOptions = field(default_factory=FlinkOptions, metadata={"section": FlinkOptions})

    def flink_options(self, job: str) -> FlinkOptions:
        """The options of one job: its own, else those of all."""
        changed = self.flink.jobs.get(job) or {}
        return dataclasses.replace(self.flink, **changed)


def read_environment(path: Path) -> Environment:
    """Read the file of an environment. Raises ConfigInvalid, with the line; a misspelt key names the nearest."""
    source = read_declaration(path)
    written = {} if source.value is None else source.value
    environment: Environment = _section(Environment, written, source, ())
    _require_valid(environment, source)
    return environment


def _section(section: type[Any], written: Any, source: Declaration, path: KeyPath) -> Any:
    known = fields_of(section)
    if not isinstance(written, Mapping):
        raise source.refusal(path, "must be a mapping.", hint=f"Its keys: {', '.join(known)}.")
    source.refuse_unknown_keys(path, written, known)
    made: dict[str, Any] = {}
    for key, value in written.items():
        inner = inner_section(known[key][0])
        at = (*path, key)
        made[key] = accept(section, key, value, source, at) if inner is None else _section(inner, value, source, at)
    if section is FlinkOptions and "jobs" in made:
        made["jobs"] = {name: _changes(value, source, (*path, "jobs", name)) for name, value in made["jobs"].items()}
    return section(**made)


def _changes(written: Any, source: Declaration, path: KeyPath) -> dict[str, Any]:
    """The options of one job on Flink that differ."""
    written = {} if written is None else written
    known = [name for name in fields_of(FlinkOptions) if name != "jobs"]
    if not isinstance(written, Mapping):
        raise source.refusal(path, "must be a mapping.", hint=f"Its keys: {', '.join(known)}.")
    source.refuse_unknown_keys(path, written, known)
    return {key: accept(FlinkOptions, key, value, source, (*path, key)) for key, value in written.items()}


def _require_valid(environment: Environment, source: Declaration) -> None:
    """Raise ConfigInvalid for values that Kubernetes would refuse."""
    for path, image in ((("image",), environment.image), (("flink", "image"), environment.flink.image)):
        if image and not _PINNED_IMAGE.match(image):
            hint = "Without one, pods of one deployment may run different code."
            raise source.refusal(path, f"{image} has neither a tag nor a digest.", hint=hint)
    names: dict[KeyPath, str | None] = {
        ("name",): environment.name,
        ("namespace",): environment.namespace,
        ("network", "flink_operator_namespace"): environment.network.flink_operator_namespace,
    }
    for where, value in names.items():
        if value is not None and not (LABEL.fullmatch(value) and len(value) <= LABEL_CHARACTERS_MAX):
            hint = "Use letters in lower case, digits and `-`, a letter first, at most 63 characters."
            raise source.refusal(where, f"{value!r} cannot name objects of Kubernetes.", hint=hint)
    serving = environment.serving
    if serving.replicas_max is not None and serving.replicas_max <= serving.replicas:
        message = f"{serving.replicas_max} is not more than serving.replicas, {serving.replicas}."
        raise source.refusal(("serving", "replicas_max"), message)
    _require_sizes(environment, source)


def _require_sizes(environment: Environment, source: Declaration) -> None:
    for section in ("serving", "jobs"):
        for key, value in dataclasses.asdict(getattr(environment, section)).items():
            if key in ("cpu", "memory", "memory_max", "storage") and not _QUANTITY.fullmatch(value):
                hint = "Write it as Kubernetes does: `500m` processors, `512Mi` of memory."
                raise source.refusal((section, key), f"{value!r} is not a quantity.", hint=hint)
    for key in ("job_manager_memory", "task_manager_memory"):
        if not _FLINK_MEMORY.fullmatch(value := getattr(environment.flink, key)):
            hint = "Write it as Flink does: `2048m` or `2g`."
            raise source.refusal(("flink", key), f"{value!r} is no size of memory.", hint=hint)


def require_environment(project: Path, path: Path | None) -> Environment:
    """The environment in `path`, by default the project's. Raises ConfigInvalid if there is none."""
    path = path or project / ENVIRONMENT_FILE
    if not path.is_file():
        raise ConfigInvalid(
            f"{path} is not there: it says which image is deployed, and how.",
            hint=f"Write `image: REGISTRY/NAME:TAG` into {ENVIRONMENT_FILE}, or name another file with --environment.",
        )
    return read_environment(path)
