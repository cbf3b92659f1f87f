"""The verdict on every example event of the primary schema repository, and the first reason given for a refusal."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headwater.errors import EventInvalid
from headwater.event import Event
from headwater.schemas import Validator, open_repositories
from requirements import at_least_one, fixtures_folder, requires_fixtures

FIXTURES = fixtures_folder() / "schemas"
EXAMPLES = FIXTURES / "event_examples.jsonl"

pytestmark = requires_fixtures(EXAMPLES)


@pytest.fixture(scope="module")
def validator() -> Validator:
    base = FIXTURES / "primary" / "jsonschema"
    # Schemas under `development/` carry an `$id` without that folder.
    return Validator(open_repositories([str(base), str(base / "development")]))


def _examples() -> list[dict[str, Any]]:
    return at_least_one([json.loads(line) for line in EXAMPLES.read_bytes().splitlines()])


def test_every_example_has_its_expected_verdict(validator: Validator, capsys: pytest.CaptureFixture[str]) -> None:
    examples = _examples()
    wrong = [
        (number, example["schema_uri"])
        for number, example in enumerate(examples, 1)
        if validator.compile(example["schema_uri"]).is_valid(example["event"]) != example["valid"]
    ]
    assert wrong == []
    with capsys.disabled():
        print(f"\nevent examples: {len(examples)} of {len(examples)} have the expected verdict")


def test_every_refusal_starts_with_the_recorded_reason(validator: Validator) -> None:
    for example in at_least_one([example for example in _examples() if not example["valid"]]):
        first = validator.compile(example["schema_uri"]).legacy_errors(example["event"])[0]
        why = example["why"]
        assert (first["keyword"], first["dataPath"], first["message"]) == (
            why["keyword"],
            why["data_path"],
            why["message"],
        )


def test_check_agrees_with_the_verdict(validator: Validator) -> None:
    named = [
        example
        for example in _examples()
        if isinstance(example["event"], dict) and example["event"].get("$schema") == example["schema_uri"]
    ]
    for example in at_least_one([example for example in named if example["valid"]]):
        validator.check(Event(example["event"]))
    for example in at_least_one([example for example in named if not example["valid"]]):
        with pytest.raises(EventInvalid):
            validator.check(Event(example["event"]))


def test_every_schema_of_the_repository_compiles(validator: Validator) -> None:
    uris = list(validator.repository.uris())
    assert uris
    assert [validator.compile(uri).schema.uri for uri in uris] == uris
