"""One frozen tree of settings, from headwater.yaml, HEADWATER_* environment variables and overrides, in that order.

Which settings there are, and what they take, stands in `settings.py`.
"""

from __future__ import annotations

import dataclasses
import os
import re
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from headwater.declaration import Declaration, KeyPath, dotted, nearest, read_declaration, scalar, suggestion
from headwater.errors import ConfigInvalid
from headwater.settings import (
    SECTIONS,
    ConsumptionConfig,
    ControlConfig,
    IntakeConfig,
    JobsConfig,
    LogConfig,
    MonitoringConfig,
    SchemasConfig,
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
    "IntakeConfig",
    "JobsConfig",
    "LogConfig",
    "MonitoringConfig",
    "SchemasConfig",
    "StreamsConfig",
    "WebConfig",
    "load_config",
]

CONFIG_FILE = "headwater.yaml"
ENVIRONMENT_PREFIX = "HEADWATER_"
REFERENCE = re.compile(r"\$\{(env|file):([^}]+)\}")


@dataclass(frozen=True, slots=True)
class Config:
    """Everything a platform is told before it starts. Paths are as written; `path()` places them in the project."""

    project_dir: Path
    log: LogConfig = field(default_factory=LogConfig)
    schemas: SchemasConfig = field(default_factory=SchemasConfig)
    streams: StreamsConfig = field(default_factory=StreamsConfig)
    control: ControlConfig = field(default_factory=ControlConfig)
    intake: IntakeConfig = field(default_factory=IntakeConfig)
    consumption: ConsumptionConfig = field(default_factory=ConsumptionConfig)
    jobs: JobsConfig = field(default_factory=JobsConfig)
    monitoring: MonitoringConfig = field(default_factory=MonitoringConfig)
    web: WebConfig = field(default_factory=WebConfig)

    def path(self, written: str) -> Path:
        """A configured path as a place on this machine."""
        return self.project_dir / written

    @property
    def log_path(self) -> Path:
        """The file of a `sqlite:///` log."""
        return self.path(self.log.url.removeprefix("sqlite:///"))

    def kafka_options(self, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The options of the Kafka client with what their references name; may hold secrets. Raises ConfigInvalid."""
        read_from = os.environ if environment is None else environment
        return {name: self._dereferenced(name, value, read_from) for name, value in self.log.kafka.items()}

    def _dereferenced(self, name: str, value: Any, environment: Mapping[str, str]) -> Any:
        found = REFERENCE.fullmatch(value) if isinstance(value, str) else None
        if found is None:
            return value
        kind, target = found.groups()
        if kind == "env":
            if target not in environment:
                raise ConfigInvalid(f"log.kafka: {name} is to be read from {target}, which the environment lacks.")
            return environment[target]
        try:
            return self.path(target).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise ConfigInvalid(
                f"log.kafka: {name} is to be read from {self.path(target)}, which cannot be: {why}."
            ) from None

    @property
    def schema_base_uris(self) -> tuple[str, ...]:
        """The schema repositories, directories made absolute in the project."""
        return tuple(
            uri if uri.startswith(("http://", "https://")) else str(self.path(uri)) for uri in self.schemas.base_uris
        )


def load_config(
    project_dir: Path,
    environment: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Config:
    """Read `headwater.yaml` in `project_dir` (absent: defaults), then the environment (None: the process's own), then
    `overrides`, which has the file's shape or dotted keys such as `web.port`. Later ones win. Raises ConfigInvalid.
    """
    values: dict[tuple[str, str], Any] = {}
    values.update(_from_file(project_dir / CONFIG_FILE))
    values.update(_from_environment(os.environ if environment is None else environment))
    values.update(_from_overrides(overrides or {}))
    sections: dict[str, Any] = {}
    for name, section in SECTIONS.items():
        sections[name] = section(**{key: value for (of, key), value in values.items() if of == name})
    return Config(project_dir=project_dir, **sections)


def _from_file(path: Path) -> Iterator[tuple[tuple[str, str], Any]]:
    if not path.exists():
        return
    declaration = read_declaration(path)
    yield from _from_declaration(declaration)


def _from_declaration(declaration: Declaration) -> Iterator[tuple[tuple[str, str], Any]]:
    tree = {} if declaration.value is None else declaration.value
    if not isinstance(tree, dict):
        raise declaration.refusal((), "must be a mapping of sections.", hint=f"Known: {', '.join(SECTIONS)}.")
    declaration.refuse_unknown_keys((), tree, SECTIONS)
    for name, written in tree.items():
        for path, key, value in _settings_of(name, written, declaration):
            yield (name, key), _accept(SECTIONS[name], key, value, declaration, path)


def _settings_of(name: str, written: Any, declaration: Declaration) -> Iterator[tuple[KeyPath, str, Any]]:
    section = SECTIONS[name]
    if isinstance(written, dict):
        declaration.refuse_unknown_keys((name,), written, _fields(section))
        for key, value in written.items():
            yield (name, key), key, value
    elif written is not None:
        shorthand = getattr(section, "SHORTHAND", None)
        if shorthand is None:
            known = ", ".join(_fields(section))
            raise declaration.refusal((name,), f"{name} must be a mapping.", hint=f"Its keys: {known}.")
        yield (name,), shorthand, written


def _from_environment(environment: Mapping[str, str]) -> Iterator[tuple[tuple[str, str], Any]]:
    for variable in sorted(environment):
        name, _, key = variable.removeprefix(ENVIRONMENT_PREFIX).lower().partition("_")
        # Other HEADWATER_* variables belong to tests and deployments; only those that name a section are ours.
        if not variable.startswith(ENVIRONMENT_PREFIX) or name not in SECTIONS:
            continue
        section = SECTIONS[name]
        key = key or getattr(section, "SHORTHAND", "")
        source = Declaration(f"environment variable {variable}", None)
        if key not in _fields(section):
            names = [f"{ENVIRONMENT_PREFIX}{name}_{field}".upper() for field in _fields(section)]
            raise source.refusal((), "is not a setting.", hint=suggestion(variable, names))
        try:
            value = _from_text(environment[variable], _fields(section)[key][1])
        except ValueError as error:
            raise source.refusal((), f"{error}.") from None
        yield (name, key), _accept(section, key, value, source, (name, key))


def _from_text(text: str, kind: Any) -> Any:
    kinds = _alternatives(kind)
    if any(option is str or typing.get_origin(option) is Literal for option in kinds):
        return None if type(None) in kinds and scalar(text) is None else text
    if (str, ...) in [typing.get_args(option) for option in kinds]:
        return None if scalar(text) is None else [part.strip() for part in text.split(",") if part.strip()]
    return scalar(text)


def _from_overrides(overrides: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str], Any]]:
    tree: dict[str, Any] = {}
    for name, value in overrides.items():
        section, dot, key = name.partition(".")
        if dot:
            tree.setdefault(section, {})[key] = value
        elif isinstance(value, Mapping):
            tree.setdefault(section, {}).update(value)
        else:
            tree[section] = value
    yield from _from_declaration(Declaration("overrides", tree))


def _fields(section: type[Any]) -> dict[str, tuple[dataclasses.Field[Any], Any]]:
    hints = typing.get_type_hints(section)
    return {field.name: (field, hints[field.name]) for field in dataclasses.fields(section)}


def _alternatives(kind: Any) -> tuple[Any, ...]:
    return typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)


def _accept(section: type[Any], key: str, value: Any, source: Declaration, path: KeyPath) -> Any:
    """The value as the section's field keeps it; ConfigInvalid where it has another type or is out of range."""
    field, kind = _fields(section)[key]
    for option in _alternatives(kind):
        try:
            accepted = _of_type(value, option)
        except TypeError:
            continue
        _check_range(accepted, field, source, path)
        return accepted
    wanted = " or ".join(_in_words(option) for option in _alternatives(kind))
    hint = None
    if (
        isinstance(value, str)
        and typing.get_origin(kind) is Literal
        and (near := nearest(value, typing.get_args(kind)))
    ):
        hint = f'Did you mean "{near}"?'
    raise source.refusal(path, f"{_name(section, key)} must be {wanted}, not {_shown(value)}.", hint=hint)


def _of_type(value: Any, kind: Any) -> Any:
    """`value` in the form the field keeps (lists as tuples, whole numbers as float where float is meant).

    Raises TypeError where the value is of another type.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple:
        # One name where several are possible is the common case: accept it without brackets.
        items = [value] if isinstance(value, str) and arguments[0] is str else value
        if not isinstance(items, (list, tuple)):
            raise TypeError
        return tuple(_of_type(item, arguments[0]) for item in items)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            raise TypeError
        return {str(key): _of_type(item, arguments[1]) for key, item in value.items()}
    if kind is Any or (origin is Literal and value in arguments):
        return value
    if kind is float and type(value) is int:
        return float(value)
    if isinstance(kind, type) and type(value) is kind:
        return value
    raise TypeError


def _check_range(value: Any, field: dataclasses.Field[Any], source: Declaration, path: KeyPath) -> None:
    allowed = field.metadata
    name = dotted(path)
    if any("\0" in text for text in ([value] if isinstance(value, str) else value if _is_texts(value) else [])):
        raise source.refusal(path, f"{name} has a NUL character in it.", hint="Write it without `\\0`.")
    if isinstance(value, (int, float)):
        if allowed["at_least"] is not None and value < allowed["at_least"]:
            raise source.refusal(path, f"{name} must be at least {allowed['at_least']}, not {value}.")
        if allowed["at_most"] is not None and value > allowed["at_most"]:
            raise source.refusal(path, f"{name} must be at most {allowed['at_most']}, not {value}.")
    if isinstance(value, str) and allowed["starts_with"] and not value.startswith(allowed["starts_with"]):
        starts = " or ".join(f'"{start}"' for start in allowed["starts_with"])
        raise source.refusal(path, f'{name} must start with {starts}, not "{value}".')


def _is_texts(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(text, str) for text in value)


def _name(section: type[Any], key: str) -> str:
    return next(name for name, known in SECTIONS.items() if known is section) + f".{key}"


def _in_words(kind: Any) -> str:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return " or ".join(f'"{choice}"' for choice in arguments)
    if origin is tuple:
        return f"a list of {'texts' if arguments[0] is str else 'mappings'}"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "a mapping"
    words = {str: "text", int: "a whole number", float: "a number", bool: "true or false", type(None): "null"}
    return words[kind]


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return f'the text "{value[:60]}"'
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list of something else"
    return (
        {None: "null", True: "true", False: "false"}.get(value, str(value))
        if not isinstance(value, float)
        else str(value)
    )
