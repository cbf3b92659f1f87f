"""A field tree as Python: a TypedDict for each object, for editors and type checkers."""

from __future__ import annotations

import json
import keyword
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from headwater.schemas.types.tree import (
    WHOLE,
    Choice,
    DataType,
    Field,
    ListOf,
    MapOf,
    Nullable,
    Scalar,
    ScalarKind,
    Struct,
    TypedSchema,
    Untyped,
)
from headwater.schemas.types.words import shortened

COMMENT_CHARACTERS_MAX = 100
_WORDS: dict[ScalarKind, str] = {
    "boolean": "bool",
    "integer": "int",
    "number": "float",
    "string": "str",
    "timestamp": "str",
    "null": "None",
    "json": "Any",
}
HEADER = '''"""Types of events, written by `headwater codegen python`. Do not edit: run it again."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict
'''


def python_module(schemas: Sequence[TypedSchema]) -> str:
    """The source of a module with the types of all `schemas`, each named after its title."""
    writer = _Writer()
    for schema in schemas:
        writer.schema(schema)
    names = [name for name in ("Any", "NotRequired", "TypedDict") if name in writer.used]
    header = HEADER.replace("Any, NotRequired, TypedDict", ", ".join(names))
    if not names:
        header = header.replace("\nfrom typing import \n", "")
    return "\n\n".join([header, *writer.definitions]).rstrip("\n") + "\n"


def class_name(title: str) -> str:
    """`mediawiki/page/change` → `MediawikiPageChange`."""
    words = [word for word in re.split(r"[^0-9A-Za-z]+", title) if word]
    name = "".join(word[0].upper() + word[1:] for word in words) or "Event"
    if keyword.iskeyword(name):
        return f"{name}_"
    return f"_{name}" if name[0].isdigit() else name


@dataclass(slots=True)
class _Writer:
    """`definitions` are in order of dependence: a class after those of its fields. `used` are names of `typing`."""

    definitions: list[str] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    taken: set[str] = field(default_factory=lambda: {"Any", "NotRequired", "TypedDict"})

    def schema(self, schema: TypedSchema) -> None:
        name = self._free(class_name(schema.title or "event"))
        kind = schema.root.united if isinstance(schema.root, Choice) else schema.root
        source = f"/{schema.title}/{schema.version}" if schema.title and schema.version else schema.title or ""
        assert isinstance(kind, Struct)
        if len(kind.fields) == 1 and kind.fields[0].source == WHOLE:
            self.definitions.append(f"# {source}\n{name} = {self._type(kind.fields[0].type, name)}\n")
            return
        self._struct(kind, name, source)

    def _struct(self, struct: Struct, name: str, source: str = "") -> None:
        fields = [(one, self._field_type(one, name)) for one in struct.fields]
        self.used.add("TypedDict")
        by_class = all(one.source.isidentifier() and not keyword.iskeyword(one.source) for one in struct.fields)
        # A leading double underscore would be changed by the class it is in.
        by_class = by_class and not any(one.source.startswith("__") for one in struct.fields)
        origin = [f"# {source}"] if source else []
        if by_class:
            lines = [*origin, f"class {name}(TypedDict):"]
            lines += [line for one, kind in fields for line in _lines(one, f"{one.source}: {kind}")]
            if not fields:
                lines.append("    pass")
        else:
            lines = [*origin, f"{name} = TypedDict(", f'    "{name}",', "    {"]
            named = ((one, f"{json.dumps(one.source, ensure_ascii=False)}: {kind},") for one, kind in fields)
            lines += [f"    {line}" for one, text in named for line in _lines(one, text)]
            lines += ["    },", ")"]
        self.definitions.append("\n".join(lines) + "\n")

    def _field_type(self, one: Field, parent: str) -> str:
        kind = self._type(one.type, parent + class_name(one.source))
        if one.required:
            return kind
        self.used.add("NotRequired")
        return f"NotRequired[{kind}]"

    def _type(self, kind: DataType, name: str) -> str:
        match kind:
            case Scalar():
                return self._typing(_WORDS[kind.kind])
            case ListOf():
                item = self._type(kind.item, name)
                return f"list[{item} | None]" if kind.item_nullable and item != "Any" else f"list[{item}]"
            case MapOf():
                # The declared keys may have types of their own.
                value = self._typing("Any") if kind.listed else self._type(kind.value, name)
                return f"dict[str, {value} | None]" if kind.value_nullable and value != "Any" else f"dict[str, {value}]"
            case Struct():
                if not kind.fields:
                    return f"dict[str, {self._typing('Any')}]"
                name = self._free(name)
                self._struct(kind, name)
                return name
            case Nullable():
                inner = self._type(kind.type, name)
                return inner if inner in ("Any", "None") else f"{inner} | None"
            case Choice():
                return self._type(kind.united, name)
            case Untyped():
                return self._typing("Any")

    def _typing(self, word: str) -> str:
        if word == "Any":
            self.used.add("Any")
        return word

    def _free(self, name: str) -> str:
        free, number = name, 2
        while free in self.taken:
            free, number = f"{name}{number}", number + 1
        self.taken.add(free)
        return free


def _lines(one: Field, text: str) -> list[str]:
    """The declaration of a field below its description."""
    words = " ".join((one.description or "").split())
    comment = [f"    # {shortened(words, COMMENT_CHARACTERS_MAX)}"] if words else []
    return [*comment, f"    {text}"]
