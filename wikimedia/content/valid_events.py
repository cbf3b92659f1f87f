"""What the schemas of the project say about an event: whether it is valid, and which of its fields are declared."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from headwater.config import load_config
from headwater.errors import SchemaInvalid, SchemaNotFound, SchemaUriRefused
from headwater.schemas.configured import project_schemas
from headwater.schemas.validation.validator import Validator

PROJECT = Path(__file__).parent.parent


@cache
def _validator() -> Validator:
    return Validator(project_schemas(load_config(PROJECT)))


def is_valid(event: Mapping[str, Any]) -> bool:
    """Whether an event names a schema that exists, and agrees with it. A log may have others."""
    uri = event.get("$schema")
    try:
        return isinstance(uri, str) and _validator().compile(uri).is_valid(event)
    except (SchemaInvalid, SchemaNotFound, SchemaUriRefused):
        return False


def only_declared(event: Mapping[str, Any], uri: str) -> dict[str, Any]:
    """The event with those fields alone, at any depth, that the schema with this URI declares."""
    declares = _validator().compile(uri).schema.declares

    def kept(value: Any, path: str) -> Any:
        if not isinstance(value, Mapping):
            return value
        return {name: kept(one, f"{path}{name}.") for name, one in value.items() if declares(f"{path}{name}")}

    return dict(kept(event, ""))


def document(uri: str) -> Mapping[str, Any]:
    """The schema with this URI. Raises what reading it raises, such as SchemaNotFound."""
    found: Mapping[str, Any] = _validator().compile(uri).schema.document
    return found
