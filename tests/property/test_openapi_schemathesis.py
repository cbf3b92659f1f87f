"""Our own OpenAPI description is true: requests made up from it are answered as it says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings

from headwater.testing.service_kit import served_project, write_project

SCHEMA = {
    "title": "note",
    "$id": "/note/1.0.0",
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "properties": {"$schema": {"type": "string"}, "meta": {"type": "object"}, "text": {"type": "string"}},
}


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Iterator[schemathesis.BaseSchema]:
    directory = tmp_path_factory.mktemp("described")
    write_project(directory, [SCHEMA], [{"stream": "notes", "schema_title": "note"}])
    event = {"$schema": "/note/1.0.0", "meta": {"stream": "notes"}, "text": "test"}
    with served_project(directory, intake={"test_events": [event]}) as (address, _):
        # The stream never ends: tests/end_to_end/ reads it.
        yield schemathesis.openapi.from_url(f"{address}/?spec").exclude(path_regex="^/v2/stream/")


def test_answers_are_as_described(described: schemathesis.BaseSchema) -> None:
    operations = [found.ok() for found in described.get_all_operations()]
    assert operations
    for operation in operations:
        answers_as_described(operation)


def answers_as_described(operation: Any) -> None:
    checks = schemathesis.checks
    always = [checks.not_a_server_error, checks.status_code_conformance]
    with_content = [*always, checks.content_type_conformance, checks.response_schema_conformance]

    @given(case=operation.as_strategy())
    @settings(max_examples=40, suppress_health_check=list(HealthCheck))
    def answered(case: schemathesis.Case) -> None:
        response = case.call(headers={"connection": "close"})
        # The answer to an empty body has none either, as recorded from EventGate; OpenAPI cannot say "or nothing".
        case.validate_response(
            response, checks=always if response.status_code == 400 and not response.content else with_content
        )

    answered()
