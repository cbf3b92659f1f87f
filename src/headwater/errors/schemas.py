"""Errors of schemas and of the repositories that have them."""

from __future__ import annotations

from collections.abc import Sequence

from headwater.errors.family import Fault, HeadwaterError


class SchemaNotFound(HeadwaterError):
    """No schema repository has this `$schema` URI."""

    code = "schema_not_found"
    fault = Fault.PRODUCER


class SchemaUriRefused(HeadwaterError):
    """The `$schema` URI is absolute, leaves its repository, names a file, or is `latest` from a producer."""

    code = "schema_uri_refused"
    fault = Fault.PRODUCER


class SchemaInvalid(HeadwaterError):
    """The schema document itself cannot be used: it is not a schema, is insecure, is too deep, or does not compile.

    If the location is known, `message` begins with `file:line:column: ` (1-based) and `detail` is the rest of it.
    """

    code = "schema_invalid"
    fault = Fault.OPERATOR

    def __init__(
        self,
        message: str,
        *,
        file: str | None = None,
        line: int | None = None,
        column: int | None = None,
        hint: str | None = None,
    ) -> None:
        place = ":".join(str(part) for part in (file, line, column) if part is not None)
        super().__init__(f"{place}: {message}" if place else message, hint=hint)
        self.detail = message
        self.file = file
        self.line = line
        self.column = column


class TypeUnmappable(HeadwaterError):
    """A schema has fields for which the target system has no type or no name; `refusals` lists each with its reason."""

    code = "type_unmappable"
    fault = Fault.OPERATOR

    def __init__(self, message: str, *, hint: str | None = None, refusals: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(message, hint=hint)
        self.refusals = tuple(refusals)


class SchemaUnavailable(HeadwaterError):
    """A remote schema repository did not answer; nothing is known about the URI."""

    code = "schema_unavailable"
    fault = Fault.PLATFORM
    retriable = True
