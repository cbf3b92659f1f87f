"""The columns of a table that follow from the schema of its stream, where a stream file does not list them.

How this works: the type mapper of schemas fits the fields to the target, and each top-level field becomes a column: a
single value with its type, an object, a list, a map or a free-form value as JSON. The fields of `meta` become columns
of their own, `meta_id`, `meta_dt` and so on, since rows are selected by them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from headwater.connectors.contract import NAME_CHARACTERS_MAX, Column, ColumnType
from headwater.errors import ConfigInvalid
from headwater.schemas.repository import SchemaRepository
from headwater.schemas.types.fit import FitOptions, NameRules, Policy, fit
from headwater.schemas.types.read import read_types
from headwater.schemas.types.targets import TARGETS
from headwater.schemas.types.tree import WHOLE, DataType, Field, ListOf, MapOf, Scalar, Struct, TypedSchema
from headwater.schemas.uri import LATEST

META = "meta"
# `$schema` says which version of the schema a row was written with.
_OWN_NAMES = {"$schema": "schema_uri"}
_TABLES = Policy("tables", holds_null=False, names=NameRules(ignores_case=True, quotes=False))
_OPTIONS = FitOptions(json_columns=True, all_nullable=True, comments=False)
_LIST_THEM = "List the columns of this sink, `columns: {name: type}`."


@dataclass(frozen=True, slots=True)
class SchemaColumns:
    """The columns of one version of a schema; `version` is None if its document does not declare one."""

    title: str
    version: str | None
    columns: tuple[Column, ...]


def named(columns: Sequence[Column], name: str) -> str:
    """The column of that name, else the one with that dotted path; otherwise the name as it is."""
    if any(column.name == name for column in columns):
        return name
    return next((column.name for column in columns if column.path == name), name)


class SchemaTypes:
    """Finds the types of schemas; `open_repository` is called when the first one is asked for."""

    def __init__(self, open_repository: Callable[[], SchemaRepository]) -> None:
        self._open = open_repository
        self._repository: SchemaRepository | None = None

    def columns(self, title: str, target: str, version: str = LATEST) -> SchemaColumns:
        """The columns of the newest version of a schema, or of that one, for the connector `target`.

        Raises ConfigInvalid with every field that cannot be a column; HeadwaterErrors of the schema and its repository.
        """
        if self._repository is None:
            self._repository = self._open()
        repository = self._repository
        document = repository.get(f"/{title}/{version}").document
        return columns_of(read_types(document, lambda path: repository.get(path).document), title, target)


def columns_of(schema: TypedSchema, title: str, target: str) -> SchemaColumns:
    """The columns of a schema for the connector `target`. Raises ConfigInvalid, TypeUnmappable."""
    policy = TARGETS[target].policy if target in TARGETS else _TABLES
    columns: dict[str, Column] = {}
    wrong = []
    for field, path, name in _fields(fit(schema, policy, _OPTIONS).root):
        column = Column(_column_name(name), column_type(field.type), ".".join(path))
        known = columns.setdefault(column.name.lower(), column)
        if any("." in part for part in path):
            wrong.append(f"{'.'.join(path)} has a dot in its name, which a path cannot reach")
        elif len(column.name) > NAME_CHARACTERS_MAX:
            wrong.append(f"{column.path} has a name longer than {NAME_CHARACTERS_MAX} characters")
        elif known is not column:
            wrong.append(f"{known.path} and {column.path} would be one column, {known.name}")
    if wrong:
        raise ConfigInvalid(f"The schema {title} does not give columns: {'; '.join(wrong)}.", hint=_LIST_THEM)
    return SchemaColumns(title, schema.version, tuple(columns.values()))


def column_type(kind: DataType) -> ColumnType:
    """The type of the column for a fitted type; integers of more than 64 bits are kept whole, as JSON."""
    if isinstance(kind, Scalar):
        plain: dict[str, ColumnType] = {
            "boolean": "boolean",
            "integer": "json" if kind.digits else "integer",
            "number": "real",
            "string": "text",
            "timestamp": "timestamp",
        }
        return plain.get(kind.kind, "json")
    assert isinstance(kind, Struct | ListOf | MapOf)
    return "json"


def _fields(root: Struct) -> Iterator[tuple[Field, tuple[str, ...], str]]:
    """Each field that becomes a column: its path, and the name that it suggests."""
    for field in root.fields:
        if field.source == WHOLE:
            raise ConfigInvalid("The schema describes no fields, of which columns could be made.", hint=_LIST_THEM)
        if field.source == META and isinstance(field.type, Struct):
            for inner in field.type.fields:
                yield inner, (META, inner.source), f"{META}_{inner.source}"
        else:
            yield field, (field.source,), field.source


def _column_name(name: str) -> str:
    """An allowed name: letters, digits and `_`, a letter first."""
    plain = _OWN_NAMES.get(name) or re.sub(r"[^A-Za-z0-9_]", "_", name).lstrip("_")
    return plain if plain[:1].isalpha() else f"c_{plain}"
