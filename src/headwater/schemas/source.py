"""The source of one schema file: read, and checked to be a schema, before it is used."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from headwater.errors import SchemaInvalid
from headwater.schemas.document import parse_document
from headwater.schemas.keyword_shapes import Misshape, metaschema_misshape, misshapen
from headwater.schemas.limits import ValidationLimits
from headwater.schemas.positions import Positions


@dataclass(frozen=True, slots=True)
class Source:
    """A schema as its author wrote it. `where` is the file as messages name it, `data` its bytes, `content` the object
    they contain, which must not be changed.
    """

    where: str
    data: bytes
    content: dict[str, Any]
    limits: ValidationLimits

    def misshapen(self) -> Iterator[Misshape]:
        """Every value that does not have the form its keyword requires; a `$ref` may replace any value."""
        return misshapen(self.content)

    def check(self) -> Source:
        """The same source. Raises SchemaInvalid, with file, line and column, if the content is not a schema."""
        found = next(self.misshapen(), None)
        if found is not None:
            raise self.refusal(found)
        return self

    def check_whole(self, document: dict[str, Any]) -> None:
        """Check that this source, with its references resolved and nothing merged yet, is a schema.

        Raises SchemaInvalid at the place of this file that is wrong, or that refers to what is wrong.
        """
        found = next(misshapen(document, references=False), None) or metaschema_misshape(document)
        if found is not None:
            raise self.refusal(found)

    def refusal(self, found: Misshape) -> SchemaInvalid:
        """The error about a place in this source."""
        line, column = Positions(self.data, self.limits).of(found.pointer) or (None, None)
        return SchemaInvalid(found.message, file=self.where, line=line, column=column, hint=found.hint)


def parse_source(data: bytes, where: str, limits: ValidationLimits) -> Source:
    """The source in these bytes, with unchecked keywords. Raises SchemaInvalid if it is not an object."""
    content = parse_document(data, where, limits)
    if not isinstance(content, dict):
        found = next(misshapen(content))
        line, column = Positions(data, limits).of("") or (1, 1)
        raise SchemaInvalid(found.message, file=where, line=line, column=column)
    return Source(where, data, content, limits)


def read_source(data: bytes, where: str, limits: ValidationLimits) -> Source:
    """The source in these bytes. Raises SchemaInvalid, with file, line and column, if it is not a schema."""
    return parse_source(data, where, limits).check()
