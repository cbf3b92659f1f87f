"""A project as it is deployed: its settings in one environment, what it reads from secrets, and what it writes."""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headwater.checking.project import Project
from headwater.config import CONFIG_FILE, REFERENCE, SECTIONS, Config, load_config
from headwater.declaration import read_declaration
from headwater.deploy.environment import Environment
from headwater.deploy.names import label, require_distinct
from headwater.deploy.written_yaml import yaml_text
from headwater.errors import ConfigInvalid
from headwater.jobs.job import Job
from headwater.options import fields_of, inner_section

# Where images have the project, and the directory in it that can be written.
PROJECT_DIRECTORY = "/srv/project"
WRITABLE = "var"
_SECRET_WORDS = re.compile(r"password|secret|token|\bkey\b|credential|jaas", re.IGNORECASE)
_PASSWORD_IN_URL = re.compile(r"://[^/\s:@]*:[^/\s@]+@")


@dataclass(frozen=True, slots=True)
class References:
    """What is read from secrets: names of variables, and paths of files, absolute in the container."""

    variables: tuple[str, ...]
    files: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.variables or self.files)


@dataclass(frozen=True, slots=True)
class Release:
    """A project in an environment. `settings`: the text of its `headwater.yaml` there."""

    name: str
    environment: Environment
    config: Config
    settings: str
    jobs: tuple[Job, ...]
    # What all processes of the platform read, and what is needed to read and write the log alone.
    references: References
    log_references: References

    @property
    def checksum(self) -> str:
        """SHA-256 of the settings: pods that carry it are replaced when they change."""
        return hashlib.sha256(self.settings.encode()).hexdigest()

    @property
    def port(self) -> int:
        return self.config.web.port


def deployed_config(project: Path, environment: Environment) -> Config:
    """The settings of the project in this environment; variables of this process are not read.

    Raises ConfigInvalid.
    """
    return load_config(project, environment={}, overrides=environment.settings)


def release_of(project: Project, environment: Environment) -> Release:
    """The project, read with `deployed_config`, as it is deployed.

    Raises ConfigInvalid for what cannot be deployed: two jobs with one name in Kubernetes, secrets that are written
    into the settings, references without a Secret, and files that are written outside the writable directory.
    """
    config = project.config
    require_distinct([job.name for job in project.jobs], "jobs")
    _require_no_secrets(config)
    _require_writable(config, project.jobs)
    if not config.web.port:
        raise ConfigInvalid(
            "web.port is 0, any free port; in a container it must be known.", hint="Set it, as to 8080."
        )
    references = references_of(project)
    if references and environment.secret is None:
        named = ", ".join((*references.variables, *references.files))
        raise ConfigInvalid(
            f"The project reads {named} from its environment or from files.",
            hint="Name the Secret that has them with `secret: NAME` in the file of the environment.",
        )
    return Release(
        environment.name or label(config.project_dir.resolve().name),
        environment,
        config,
        settings_text(config.project_dir, environment.settings),
        tuple(project.jobs),
        references,
        _references([config.log.kafka]),
    )


def references_of(project: Project) -> References:
    """All that the settings, sinks and sources of a project read from variables and files."""
    return _references([*_settings_with_secrets(project.config), *_of_connectors(project.writers)])


def settings_text(project: Path, changed: Mapping[str, Any]) -> str:
    """The project's `headwater.yaml` with the settings that are others here, normalised."""
    file = project / CONFIG_FILE
    written = read_declaration(file).value if file.exists() else None
    tree = {name: _in_full(name, value) for name, value in (written or {}).items()}
    for name, value in changed.items():
        tree[name] = _merged(SECTIONS[name], tree.get(name) or {}, _in_full(name, value))
    return yaml_text({name: tree[name] for name in SECTIONS if tree.get(name)})


def _in_full(name: str, written: Any) -> Any:
    """A section as a mapping, also if it is written in its short form."""
    if written is None or isinstance(written, Mapping):
        return written or {}
    return {SECTIONS[name].SHORTHAND: written}


def _merged(section: type[Any], written: Mapping[str, Any], changed: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(written)
    known = fields_of(section)
    for key, value in changed.items():
        inner = inner_section(known[key][0])
        merged[key] = value if inner is None else _merged(inner, merged.get(key) or {}, value)
    return merged


def _settings_with_secrets(config: Config) -> Iterator[Mapping[str, Any]]:
    yield config.log.kafka
    yield config.lake.storage
    yield config.monitoring.canary_keys


def _of_connectors(jobs: Iterable[Job]) -> Iterator[Mapping[str, Any]]:
    """What is written for the secret options of the sinks and sources."""
    for job in jobs:
        sink = job.writes().sink
        if sink is not None:
            yield sink.references
        if job.input is not None:
            yield job.input.references


def _references(written: Iterable[Mapping[str, Any]]) -> References:
    variables, files = set(), set()
    for text in (text for tree in written for text in _texts(tree)):
        found = REFERENCE.fullmatch(text)
        if found is not None and found[1] == "env":
            variables.add(found[2])
        elif found is not None:
            files.add(posixpath.normpath(posixpath.join(PROJECT_DIRECTORY, found[2])))
    names: dict[str, str] = {}
    for file in sorted(files):
        other = names.setdefault(posixpath.basename(file), file)
        if other != file:
            raise ConfigInvalid(
                f"{other} and {file} would be one key of a Secret, {posixpath.basename(file)}.",
                hint="Give one of the two files another name.",
            )
    return References(tuple(sorted(variables)), tuple(sorted(files)))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _texts(one)


def _require_no_secrets(config: Config) -> None:
    """Raise ConfigInvalid for a secret that is written into the settings, which everybody may read in a ConfigMap.

    All others are refused, wherever a project is read.
    """
    for key, value in config.log.kafka.items():
        # Locations of files are no secrets, however they are called.
        is_secret = _SECRET_WORDS.search(key.replace(".", " ")) and not key.endswith(".location")
        if is_secret and isinstance(value, str) and not REFERENCE.fullmatch(value):
            raise _shown(f"log.kafka: {key}")
    for where, url in (("log.url", config.log.url), ("lake.location", config.lake.location or "")):
        if _PASSWORD_IN_URL.search(url):
            raise _shown(where)
    for uri in config.schemas.base_uris:
        if _PASSWORD_IN_URL.search(uri):
            raise _shown("schemas.base_uris")


def _shown(where: str) -> ConfigInvalid:
    return ConfigInvalid(
        f"{where} contains the secret itself, and settings become a ConfigMap, which many may read.",
        hint="Write `${env:NAME}` or `${file:PATH}` there, and put the value into a Secret.",
    )


def _require_writable(config: Config, jobs: Iterable[Job]) -> None:
    """Raise ConfigInvalid for a file that would be written where the file system is read-only."""
    written = {
        "jobs.state_path": config.jobs.state_path,
        "jobs.tables_path": config.jobs.tables_path,
    }
    if not config.log.is_kafka:
        written["log.url"] = config.log.url.removeprefix("sqlite:///")
    if config.intake.hasty_spool_path:
        written["intake.hasty_spool_path"] = config.intake.hasty_spool_path
    if config.lake.location is not None:
        written["lake.state_path"] = config.lake.state_path
        if "://" not in config.lake.location:
            written["lake.location"] = config.lake.location
    for job in jobs:
        sink = job.writes().sink
        file = None if sink is None else sink.file(Path(PROJECT_DIRECTORY))
        if sink is not None and file is not None:
            written[f"the sink of {job.name} ({sink.place})"] = str(file)
    for where, path in written.items():
        absolute = posixpath.normpath(posixpath.join(PROJECT_DIRECTORY, path))
        if not absolute.startswith(f"{PROJECT_DIRECTORY}/{WRITABLE}/"):
            raise ConfigInvalid(
                f"{where} is {path}, and in a container only {WRITABLE}/ of the project can be written.",
                hint=f"Name a place below {WRITABLE}/.",
            )
