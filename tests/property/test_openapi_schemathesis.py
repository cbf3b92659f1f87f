"""Our own OpenAPI description is true: requests made up from it are answered as it says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings

from headwater.testing.notes import note_schema, write_notes
from headwater.testing.service_kit import served_project

# Operations with a body are worth more tries than those with a name or two.
EXAMPLES_OF_BODIES, EXAMPLES_OF_OTHERS = 40, 12
TABLE = """
from headwater.jobs import table


@table(source="notes", key=("text", "number"))
def newest_notes(event):
    return {"at": event["meta"]["dt"]}
"""
SERVED = """
fields: {text: text, number: integer, at: time}
equals: [text, number]
ranges: [text, number, at]
order: -at
distinct: {texts: text}
"""


class Described:
    """The description of a platform that is served, and a key for all of it."""

    def __init__(self, address: str, key: str) -> None:
        self.schema = schemathesis.openapi.from_url(f"{address}/?spec")
        self.key = {"authorization": f"Bearer {key}"}

    def operations(self, *, is_marked: bool) -> list[Any]:
        """The operations that tools may try out as they like, or those that are marked: they change, or never end."""
        found = [result.ok() for result in self.schema.get_all_operations()]
        return [one for one in found if (one.definition.raw.get("x-monitor") is False) is is_marked]


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Described]:
    directory = tmp_path_factory.mktemp("described")
    write_notes(directory, note_schema(required=()))
    (directory / "jobs").mkdir()
    (directory / "jobs" / "newest_notes.py").write_text(TABLE, encoding="utf-8")
    (directory / "served_tables").mkdir()
    (directory / "served_tables" / "newest_notes.yaml").write_text(SERVED, encoding="utf-8")
    event = {"$schema": "/note/1.0.0", "meta": {"stream": "notes"}, "text": "test"}
    control = {"requests_per_minute_max": 1_000_000}
    with served_project(directory, intake={"test_events": [event]}, control=control) as (address, platform):
        yield Described(address, platform.keys.create("test", ("streams:read", "streams:write", "streams:kill")))


def test_answers_are_as_described(described: Described) -> None:
    operations = described.operations(is_marked=False)
    assert operations
    for operation in operations:
        answers_as_described(operation, described.key)


def test_changes_that_are_only_tried_are_answered_as_described(described: Described) -> None:
    """What is no change, too. Those that never end are read in tests/end_to_end/."""
    operations = [one for one in described.operations(is_marked=True) if one.method.upper() == "POST"]
    changes = {f"/v1/stream-changes{end}" for end in ("", "/rollback", "/kill")}
    others = {"/v1/jobs/{name}", "/v1/errors/redrive", "/v1/webhooks/{name}"}
    assert {one.path for one in operations} == others | changes
    for operation in operations:
        for mode in schemathesis.GenerationMode:
            answers_as_described(operation, described.key, mode, dry_run="true")


def test_who_has_no_key_is_told_so_as_described(described: Described) -> None:
    needing = [
        one
        for marked in (True, False)
        for one in described.operations(is_marked=marked)
        if one.definition.raw.get("security") and {} not in one.definition.raw["security"]
    ]
    assert len(needing) > 4
    for operation in needing:
        named = {"number": 1, "name": "page_edits"}
        case = operation.Case(
            path_parameters={name: of for name, of in named.items() if f"{{{name}}}" in operation.path}
        )
        response = case.call(headers={"connection": "close"})
        assert response.status_code == 401, operation.path
        case.validate_response(response, checks=(schemathesis.checks.response_schema_conformance,))


def answers_as_described(
    operation: Any,
    key: dict[str, str],
    mode: schemathesis.GenerationMode = schemathesis.GenerationMode.POSITIVE,
    **query: str,
) -> None:
    checks = schemathesis.checks
    always = [checks.not_a_server_error, checks.status_code_conformance]
    with_content = [*always, checks.content_type_conformance, checks.response_schema_conformance]
    tries = EXAMPLES_OF_BODIES if operation.body else EXAMPLES_OF_OTHERS

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(max_examples=tries, suppress_health_check=list(HealthCheck), deadline=None)
    def answered(case: schemathesis.Case) -> None:
        case.query = {**(case.query or {}), **query}
        response = case.call(headers={"connection": "close", **key})
        # The answer to an empty body has none either, as recorded from EventGate; OpenAPI cannot say "or nothing".
        case.validate_response(
            response, checks=always if response.status_code == 400 and not response.content else with_content
        )

    answered()
