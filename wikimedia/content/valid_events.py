"""Whether events agree with the schemas of the project: a log may have events that no intake has checked."""

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
    """Whether an event names a schema that exists, and agrees with it."""
    uri = event.get("$schema")
    try:
        return isinstance(uri, str) and _validator().compile(uri).is_valid(event)
    except (SchemaInvalid, SchemaNotFound, SchemaUriRefused):
        return False
