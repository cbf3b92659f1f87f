"""Schemas, the repositories they come from, and the validation of events."""

from headwater.schemas.limits import ValidationLimits
from headwater.schemas.repository import LayeredRepository, LocalRepository, SchemaRepository, open_repositories
from headwater.schemas.schema import Schema
from headwater.schemas.uri import check_producer_uri
from headwater.schemas.validation.validator import CompiledSchema, Validator, legacy_errors_text

__all__ = [
    "CompiledSchema",
    "LayeredRepository",
    "LocalRepository",
    "Schema",
    "SchemaRepository",
    "ValidationLimits",
    "Validator",
    "check_producer_uri",
    "legacy_errors_text",
    "open_repositories",
]
