"""Rules that keep a schema from making events slow to validate (contracts/intake.md §2, "Security metaschema")."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from headwater.errors import SchemaInvalid
from headwater.schemas.dialect import subschemas


def check_secure(document: Mapping[str, Any], where: str) -> None:
    """Raises SchemaInvalid with the first few places at which the document is not safe for untrusted data."""
    found = []
    for pointer, sentence in insecurities(document):
        found.append(f"at {pointer or '/'}: {sentence}")
        if len(found) == 5:
            break
    if found:
        raise SchemaInvalid(f"The schema at {where} is not secure: {'; '.join(found)}.")


def insecurities(schema: Any, pointer: str = "") -> Iterator[tuple[str, str]]:
    """Every unbounded construct as (pointer into the schema, sentence)."""
    if not isinstance(schema, Mapping):
        return
    for keyword in ("pattern", "format"):
        if keyword in schema and "maxLength" not in schema:
            yield pointer, f"`{keyword}` needs a `maxLength`"
    if "patternProperties" in schema:
        names = schema.get("propertyNames")
        if not isinstance(names, Mapping) or "maxLength" not in names:
            yield pointer, "`patternProperties` needs `propertyNames` with a `maxLength`"
    if schema.get("uniqueItems") is True and "maxItems" not in schema and not _items_are_scalar(schema.get("items")):
        yield pointer, "`uniqueItems` needs `maxItems`, or `items` of scalar types"
    for keyword in ("allOf", "anyOf", "oneOf"):
        if schema.get(keyword) == []:
            yield pointer, f"`{keyword}` is empty"
    for path, child in subschemas(schema, definitions=True):
        yield from insecurities(child, f"{pointer}/{'/'.join(path)}")


def _items_are_scalar(items: Any) -> bool:
    types = items.get("type") if isinstance(items, Mapping) else None
    if isinstance(types, str):
        return types not in ("object", "array")
    return isinstance(types, list) and "object" not in types and "array" not in types
