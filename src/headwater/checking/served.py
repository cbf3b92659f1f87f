"""The checks of the tables that a project serves: whether requests can be read, and be audited."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from headwater.checking.problem import Problem
from headwater.checking.project import Project
from headwater.declaration import suggestion
from headwater.errors import HeadwaterError
from headwater.served_tables.audit import Access, audit_event
from headwater.served_tables.declared import ServedTable
from headwater.served_tables.newest_schemas import NewestSchemas
from headwater.served_tables.tables import ServedTables


def ranges_have_an_order(project: Project) -> Iterator[Problem]:
    """The type of each field of a range is known, and has an order."""
    streams = project.streams
    if streams is None:
        return
    newest = NewestSchemas(lambda: streams, project.validator.repository)
    served = ServedTables(project.served, newest.document)
    for one in served.all():
        for field in one.options.ranges:
            kind = served.type_of(one)(field)
            if not kind.is_ordered:
                hint = f"Write its type: `fields: {{{field}: integer}}`."
                found = "is not known" if kind.kind == "any" else f"is {kind.kind}, which has no order"
                yield _about(one, f"{field} is in `ranges`, and its type {found}.", hint)


def audits_are_accepted(project: Project) -> Iterator[Problem]:
    """The stream of each audit is declared, private, and its schema accepts what is written."""
    streams = project.streams
    if streams is None:
        return
    newest = NewestSchemas(lambda: streams, project.validator.repository)
    for one in project.served:
        name = one.options.audit
        if name is None:
            continue
        if streams.find(name) is None:
            yield _about(one, f"its audit goes to {name}, which is not declared.", suggestion(name, streams.names()))
            continue
        schema = newest.uri(name)
        if schema is None:
            yield _about(one, f"its audit goes to {name}, which has no schema.")
            continue
        access = Access("/", "x", "127.0.0.1", 200, 1)
        event = audit_event(one, access, schema=schema, at=datetime(2026, 1, 1, tzinfo=UTC))
        try:
            violations = project.validator.compile(schema).violations(event)
        except HeadwaterError:
            # That of the schema is a problem of its own.
            continue
        if violations:
            why = f"{violations[0].pointer}: {violations[0].message}"
            yield _about(one, f"{name} does not accept its audit: {why}", "docs/how-to/serve-a-table.md has a schema.")


def _about(served: ServedTable, message: str, hint: str | None = None) -> Problem:
    return Problem(f"the served table {served.name}: {message}", served.place.file, served.place.line, hint)
