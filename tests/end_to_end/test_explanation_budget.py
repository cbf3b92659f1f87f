"""Explaining the invalid events of one request is bounded for the request as a whole; what is left out is reported."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from headwater.schemas.limits import ExplanationBudget
from headwater.schemas.repository import LocalRepository
from headwater.schemas.validation.validator import CompiledSchema, Validator
from headwater.testing.service_kit import served_project, write_project

CHOICES = [f"choice {number}" for number in range(2_000)]
SCHEMA: dict[str, Any] = {
    "title": "list",
    "$id": "/list/1.0.0",
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "properties": {
        "$schema": {"type": "string"},
        "meta": {"type": "object"},
        "texts": {"type": "array", "items": {"type": "string"}},
        "choices": {"type": "array", "items": {"enum": CHOICES}},
        "any": {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "object", "required": ["a"]}]}},
        "named": {"type": "object", "additionalProperties": {"type": "array", "items": {"type": "string"}}},
    },
}
EVENT = {"$schema": "/list/1.0.0", "meta": {"stream": "lists"}}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> CompiledSchema:
    directory = tmp_path_factory.mktemp("budget")
    write_project(directory, [SCHEMA], [])
    return Validator(LocalRepository(directory / "schemas")).compile("/list/1.0.0")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory: Path = tmp_path_factory.mktemp("budget-served")
    write_project(directory, [SCHEMA], [{"stream": "lists", "schema_title": "list"}])
    with served_project(directory) as (address, _):
        yield address


# One event, and how many of them are in a request.
MANY: dict[str, Callable[[], tuple[dict[str, Any], int]]] = {
    "violations": lambda: ({"texts": [1] * 500}, 1_500),
    "repeated choices": lambda: ({"choices": [1] * 20}, 300),
    "alternatives": lambda: ({"any": [1] * 300}, 1_500),
    "steps to the first": lambda: ({"texts": ["a"] * 20_000 + [1]}, 10),
    "long names": lambda: ({"named": {"n" * 500_000: [1] * 2_000}}, 3),
    "one each": lambda: ({"texts": [1]}, 4_000),
}


@pytest.mark.measures
@pytest.mark.parametrize("what", MANY)
@pytest.mark.parametrize("query", ["", "?dry_run=true"])
def test_an_answer_is_not_much_larger_than_its_request_and_others_are_served(url: str, what: str, query: str) -> None:
    event, count = MANY[what]()
    body = orjson.dumps([EVENT | event] * count)

    async def sent() -> tuple[httpx.Response, float]:
        async with httpx.AsyncClient(base_url=url, timeout=30) as client:
            asking = asyncio.create_task(
                client.post("/v1/events" + query, content=body, headers={"content-type": "application/json"})
            )
            worst = 0.0
            while not asking.done():
                began = time.monotonic()
                await client.get("/healthz")
                worst = max(worst, time.monotonic() - began)
            return await asking, worst

    answer, worst = asyncio.run(sent())

    assert answer.status_code == (200 if query else 400)
    assert len(answer.content) < 2 * len(body) + 8_000_000
    assert worst < 2
    document = answer.json()
    told = (
        [one["violations"] for one in document["events"]]
        if query
        else [one["context"]["errors"] for one in document["invalid"]]
    )
    assert len(told) == count
    assert all(told)
    if what != "one each":
        assert told[-1][-1]["keyword"] == "unlisted"


def test_a_budget_is_for_all_events_and_each_has_one_violation_at_least(compiled: CompiledSchema) -> None:
    budget = ExplanationBudget(violations_left=5)

    counts = [len(compiled.explained({"texts": [1, 2, 3]}, budget)[0]) for _ in range(4)]

    # Three; two and the sentence; one and the sentence.
    assert counts == [3, 3, 2, 2]
    assert len(compiled.explained({"texts": [1]}, budget)[0]) == 1


def test_what_is_left_out_is_counted_where_a_budget_ends(compiled: CompiledSchema) -> None:
    value = {"texts": [1] * 50, "any": [1, {}, "a", {"a": 1}]}
    whole = len(compiled.violations(value))

    budget = ExplanationBudget(violations_left=20)
    listed = compiled.explained(value, budget)[1]
    cut = compiled.explained(value, ExplanationBudget(violations_left=20, steps_left=40))[1]
    later = compiled.explained(value, budget)[1]

    assert (len(listed), listed[-1]["params"]) == (21, {"count": whole - 20})
    assert f"in {whole - 20} more places" in listed[-1]["message"]
    assert "in at least" in cut[-1]["message"]
    assert (len(later), later[-1]["params"]) == (2, {})
    assert later[-1]["message"].startswith("may break more rules")


def test_what_the_texts_of_violations_leave_no_room_for_is_counted(compiled: CompiledSchema) -> None:
    listed = compiled.explained({"texts": [1] * 50}, ExplanationBudget(bytes_left=1_000))[1]

    assert listed[-1]["params"] == {"count": 50 - (len(listed) - 1)}


@pytest.mark.parametrize("left", [{"steps_left": 3}, {"bytes_left": 10}, {"violations_left": 0}])
def test_an_invalid_event_is_never_called_valid_when_a_budget_is_used_up(
    compiled: CompiledSchema, left: dict[str, int]
) -> None:
    violations, errors = compiled.explained({"texts": ["a"] * 50 + [1, 2]}, ExplanationBudget(**left))

    assert (violations[0].keyword, errors[0]["keyword"]) == ("type", "type")
    assert errors[-1]["keyword"] == "unlisted"


def test_within_its_budget_an_event_is_explained_as_without(compiled: CompiledSchema) -> None:
    value = {"texts": [1, "a", 2], "choices": ["choice 1", 3], "any": [1, {}]}

    assert compiled.explained(value, ExplanationBudget()) == (compiled.violations(value), compiled.legacy_errors(value))


def test_long_names_are_cut_in_paths(compiled: CompiledSchema) -> None:
    error = compiled.legacy_errors({"named": {"n" * 1_000_000: [1]}})[0]

    assert len(error["dataPath"]) < 300
    assert "n…" in error["dataPath"]
