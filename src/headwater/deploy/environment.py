"""The file of an environment that a project is deployed to (`deploy.yaml`): images, sizes, names of secrets."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headwater.declaration import Declaration, KeyPath, read_declaration
from headwater.deploy.names import LABEL, LABEL_CHARACTERS_MAX
from headwater.errors import ConfigInvalid
from headwater.options import accept, fields_of, inner_section
from headwater.settings import setting

ENVIRONMENT_FILE = "deploy.yaml"
# A tag or a digest behind the last slash: a registry may have a port.
_PINNED_IMAGE = re.compile(r"[^\s@]+(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}|@sha256:[0-9a-f]{64})\Z")
_QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?")


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
    serving: ServingOptions = field(default_factory=ServingOptions, metadata={"section": ServingOptions})
    jobs: JobsOptions = field(default_factory=JobsOptions, metadata={"section": JobsOptions})


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
    return section(**made)


def _require_valid(environment: Environment, source: Declaration) -> None:
    """Raise ConfigInvalid for values that Kubernetes would refuse."""
    if environment.image and not _PINNED_IMAGE.match(environment.image):
        hint = "Without one, pods of one deployment may run different code."
        raise source.refusal(("image",), f"{environment.image} has neither a tag nor a digest.", hint=hint)
    for key in ("name", "namespace"):
        value = getattr(environment, key)
        if value is not None and not (LABEL.fullmatch(value) and len(value) <= LABEL_CHARACTERS_MAX):
            hint = "Use letters in lower case, digits and `-`, a letter first, at most 63 characters."
            raise source.refusal((key,), f"{value!r} cannot name objects of Kubernetes.", hint=hint)
    for section in ("serving", "jobs"):
        for key, value in dataclasses.asdict(getattr(environment, section)).items():
            if key in ("cpu", "memory", "memory_max", "storage") and not _QUANTITY.fullmatch(value):
                hint = "Write it as Kubernetes does: `500m` processors, `512Mi` of memory."
                raise source.refusal((section, key), f"{value!r} is not a quantity.", hint=hint)
    serving = environment.serving
    if serving.replicas_max is not None and serving.replicas_max <= serving.replicas:
        message = f"{serving.replicas_max} is not more than serving.replicas, {serving.replicas}."
        raise source.refusal(("serving", "replicas_max"), message)


def require_environment(project: Path, path: Path | None) -> Environment:
    """The environment in `path`, by default the project's. Raises ConfigInvalid if there is none."""
    path = path or project / ENVIRONMENT_FILE
    if not path.is_file():
        raise ConfigInvalid(
            f"{path} is not there: it says which image is deployed, and how.",
            hint=f"Write `image: REGISTRY/NAME:TAG` into {ENVIRONMENT_FILE}, or name another file with --environment.",
        )
    return read_environment(path)
