"""One frozen tree of settings, from headwater.yaml, HEADWATER_* environment variables and overrides, in that order.

The settings and their values are declared in `settings`.
"""

from __future__ import annotations

import os
import re
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from headwater.declaration import Declaration, KeyPath, dotted, read_declaration, scalar, suggestion
from headwater.errors import ConfigInvalid
from headwater.options import REFERENCE, accept, alternatives, dereferenced, fields_of, inner_section
from headwater.settings import (
    SECTIONS,
    ConsumptionConfig,
    ControlConfig,
    FlinkConfig,
    IntakeConfig,
    JobsConfig,
    LakeConfig,
    LogConfig,
    LookupsConfig,
    MediaWikiConfig,
    MonitoringConfig,
    SchemasConfig,
    SourcesConfig,
    StreamsConfig,
    WebConfig,
)

__all__ = [
    "CONFIG_FILE",
    "ENVIRONMENT_PREFIX",
    "REFERENCE",
    "SECTIONS",
    "Config",
    "ConsumptionConfig",
    "ControlConfig",
    "FlinkConfig",
    "IntakeConfig",
    "JobsConfig",
    "LakeConfig",
    "LogConfig",
    "LookupsConfig",
    "MediaWikiConfig",
    "MonitoringConfig",
    "SchemasConfig",
    "SourcesConfig",
    "StreamsConfig",
    "WebConfig",
    "check_canary_keys",
    "environment_with",
    "load_config",
    "origin_of",
    "override_of",
]

CONFIG_FILE = "headwater.yaml"
ENVIRONMENT_PREFIX = "HEADWATER_"
_KEY = re.compile(r"[!-~]+")
_WRITE_REFERENCE = "Put the key there, and write `${env:NAME}` or `${file:PATH}` here."


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration of a platform. Paths are as written; `path()` resolves them in the project."""

    project_dir: Path
    log: LogConfig = field(default_factory=LogConfig)
    schemas: SchemasConfig = field(default_factory=SchemasConfig)
    streams: StreamsConfig = field(default_factory=StreamsConfig)
    sources: SourcesConfig = field(default_factory=SourcesConfig)
    control: ControlConfig = field(default_factory=ControlConfig)
    intake: IntakeConfig = field(default_factory=IntakeConfig)
    consumption: ConsumptionConfig = field(default_factory=ConsumptionConfig)
    jobs: JobsConfig = field(default_factory=JobsConfig)
    lookups: LookupsConfig = field(default_factory=LookupsConfig)
    flink: FlinkConfig = field(default_factory=FlinkConfig)
    monitoring: MonitoringConfig = field(default_factory=MonitoringConfig)
    lake: LakeConfig = field(default_factory=LakeConfig)
    web: WebConfig = field(default_factory=WebConfig)

    def path(self, written: str) -> Path:
        """A configured path, resolved in the project directory."""
        return self.project_dir / written

    @property
    def log_path(self) -> Path:
        """The file of a `sqlite:///` log."""
        return self.path(self.log.url.removeprefix("sqlite:///"))

    def kafka_options(self, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The options of the Kafka client, references resolved; may hold secrets. Raises ConfigInvalid."""
        return self.dereferenced(self.log.kafka, "log.kafka", environment)

    def dereferenced(
        self, written: Mapping[str, Any], where: str, environment: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """`written` with its references resolved, also those in mappings; may hold secrets.

        Raises ConfigInvalid that starts with `where`.
        """
        read_from = os.environ if environment is None else environment
        return {
            name: self.dereferenced(value, f"{where}: {name}", read_from)
            if isinstance(value, Mapping)
            else dereferenced(value, f"{where}: {name}", read_from, self.project_dir)
            for name, value in written.items()
        }

    def canary_keys(self, environment: Mapping[str, str] | None = None) -> dict[str, str]:
        """Origin of an intake (`origin_of`) → the API key with which canaries are sent to it. Raises ConfigInvalid."""
        read_from = os.environ if environment is None else environment
        found = {}
        for address, reference in check_canary_keys(self.monitoring.canary_keys).items():
            where = f"monitoring.canary_keys: the key for {address}"
            key = dereferenced(reference, where, read_from, self.project_dir)
            if not _KEY.fullmatch(key):
                raise ConfigInvalid(
                    f"{where} is not an API key, which is one word of ASCII characters.", hint=_WRITE_REFERENCE
                )
            found[address] = key
        return found

    @property
    def schema_base_uris(self) -> tuple[str, ...]:
        """The schema repositories, directories made absolute in the project."""
        return tuple(
            uri if uri.startswith(("http://", "https://")) else str(self.path(uri)) for uri in self.schemas.base_uris
        )


def check_canary_keys(written: Mapping[str, Any]) -> dict[str, str]:
    """Origin of an intake → where its key is read from. Raises ConfigInvalid without the value, which may be a key."""
    found: dict[str, str] = {}
    for address, reference in written.items():
        where = f"monitoring.canary_keys: {address}"
        origin = origin_of(address)
        if origin is None:
            raise ConfigInvalid(
                f"{where} is not the address of an intake.", hint="Write it as https://intake.example.org."
            )
        if origin in found:
            raise ConfigInvalid(f"{where} has two keys.", hint="Name each intake once.")
        if not isinstance(reference, str) or not REFERENCE.fullmatch(reference):
            raise ConfigInvalid(f"{where} contains the key itself instead of a reference to it.", hint=_WRITE_REFERENCE)
        found[origin] = reference
    return found


def origin_of(address: str) -> str | None:
    """`scheme://host:port` of an HTTP address; None if it is not one."""
    try:
        parts = urlsplit(address)
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    except (ValueError, KeyError):
        return None
    return f"{parts.scheme}://{parts.hostname}:{port}" if parts.hostname else None


def environment_with(added: Mapping[str, str]) -> dict[str, str]:
    """The environment of this process with `added`, for a process that it starts."""
    return {**os.environ, **added}


def load_config(
    project_dir: Path,
    environment: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Config:
    """Read `headwater.yaml` in `project_dir` (absent: defaults), then the environment (None: the process's own), then
    `overrides`, which has the file's structure or dotted keys such as `web.port`. Later values win. Raises
    ConfigInvalid.
    """
    values: dict[KeyPath, Any] = {}
    values.update(_from_file(project_dir / CONFIG_FILE))
    values.update(_from_environment(os.environ if environment is None else environment))
    values.update(_from_overrides(overrides or {}))
    return Config(project_dir, **{name: _section(section, (name,), values) for name, section in SECTIONS.items()})


def _section(section: type[Any], path: KeyPath, values: Mapping[KeyPath, Any]) -> Any:
    """The section at `path`, with those inside it."""
    made: dict[str, Any] = {}
    for key, (declared, _) in fields_of(section).items():
        inner = inner_section(declared)
        if inner is not None:
            made[key] = _section(inner, (*path, key), values)
        elif (*path, key) in values:
            made[key] = values[(*path, key)]
    return section(**made)


def _from_file(path: Path) -> Iterator[tuple[KeyPath, Any]]:
    if not path.exists():
        return
    declaration = read_declaration(path)
    yield from _from_declaration(declaration)


def _from_declaration(declaration: Declaration) -> Iterator[tuple[KeyPath, Any]]:
    tree = {} if declaration.value is None else declaration.value
    if not isinstance(tree, dict):
        raise declaration.refusal((), "must be a mapping of sections.", hint=f"Known: {', '.join(SECTIONS)}.")
    declaration.refuse_unknown_keys((), tree, SECTIONS)
    for name, written in tree.items():
        yield from _settings_of(SECTIONS[name], (name,), written, declaration)


def _settings_of(
    section: type[Any], path: KeyPath, written: Any, declaration: Declaration
) -> Iterator[tuple[KeyPath, Any]]:
    name = dotted(path)
    if isinstance(written, dict):
        known = fields_of(section)
        declaration.refuse_unknown_keys(path, written, known)
        for key, value in written.items():
            at = (*path, key)
            inner = inner_section(known[key][0])
            if inner is not None:
                yield from _settings_of(inner, at, value, declaration)
            else:
                yield at, accept(section, key, value, declaration, at, name=f"{name}.{key}")
    elif written is not None:
        shorthand = getattr(section, "SHORTHAND", None)
        if shorthand is None:
            raise declaration.refusal(
                path, f"{name} must be a mapping.", hint=f"Its keys: {', '.join(fields_of(section))}."
            )
        yield (*path, shorthand), accept(section, shorthand, written, declaration, path, name=f"{name}.{shorthand}")


def _variables(section: type[Any], path: KeyPath) -> Iterator[tuple[str, tuple[KeyPath, type[Any]]]]:
    """Each setting of a section, and of those inside it: the variable that overrides it, its path and its section."""
    for key, (declared, _) in fields_of(section).items():
        inner = inner_section(declared)
        if inner is not None:
            yield from _variables(inner, (*path, key))
        else:
            yield "_".join(map(str, (*path, key))), ((*path, key), section)


def _from_environment(environment: Mapping[str, str]) -> Iterator[tuple[KeyPath, Any]]:
    for variable in sorted(environment):
        name, _, key = variable.removeprefix(ENVIRONMENT_PREFIX).lower().partition("_")
        # Other HEADWATER_* variables belong to tests and deployments; only those that name a section are ours.
        if not variable.startswith(ENVIRONMENT_PREFIX) or name not in SECTIONS:
            continue
        known = dict(_variables(SECTIONS[name], (name,)))
        key = key or getattr(SECTIONS[name], "SHORTHAND", "")
        source = Declaration(f"environment variable {variable}", None)
        if f"{name}_{key}" not in known:
            names = [f"{ENVIRONMENT_PREFIX}{known_as}".upper() for known_as in known]
            raise source.refusal((), "is not a setting.", hint=suggestion(variable, names))
        path, section = known[f"{name}_{key}"]
        try:
            value = _from_text(environment[variable], fields_of(section)[str(path[-1])][1])
        except ValueError as error:
            raise source.refusal((), f"{error}.") from None
        yield path, accept(section, str(path[-1]), value, source, path)


def override_of(key: str, text: str) -> Any:
    """What `text` means as the value of the setting with the dotted `key`; the text itself if there is no such setting.

    Raises ConfigInvalid for a number that JSON does not have.
    """
    name = key.partition(".")[0]
    known = dict(_variables(SECTIONS[name], (name,))).values() if name in SECTIONS else ()
    for path, section in known:
        if key == dotted(path) or (key == name and path[1:] == (getattr(section, "SHORTHAND", ""),)):
            try:
                return _from_text(text, fields_of(section)[str(path[-1])][1])
            except ValueError as error:
                raise ConfigInvalid(f"{key}: {error}.") from None
    return text


def _from_text(text: str, kind: Any) -> Any:
    kinds = alternatives(kind)
    if any(option is str or typing.get_origin(option) is Literal for option in kinds):
        return None if type(None) in kinds and scalar(text) is None else text
    if (str, ...) in [typing.get_args(option) for option in kinds]:
        return None if scalar(text) is None else [part.strip() for part in text.split(",") if part.strip()]
    return scalar(text)


def _from_overrides(overrides: Mapping[str, Any]) -> Iterator[tuple[KeyPath, Any]]:
    tree: dict[str, Any] = {}
    for name, value in overrides.items():
        section, dot, key = name.partition(".")
        if dot:
            within = tree.setdefault(section, {})
            kind = SECTIONS.get(section)
            while "." in key and kind is not None:
                outer, _, rest = key.partition(".")
                kind = inner_section(fields_of(kind)[outer][0]) if outer in fields_of(kind) else None
                if kind is not None:
                    within, key = within.setdefault(outer, {}), rest
            within[key] = value
        elif isinstance(value, Mapping):
            tree.setdefault(section, {}).update(value)
        else:
            tree[section] = value
    yield from _from_declaration(Declaration("overrides", tree))
