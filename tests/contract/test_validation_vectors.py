"""The verdict on every recorded vector of the legacy validator, or a reason in the table of deviations."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from headwater.errors import HeadwaterError, SchemaNotFound
from headwater.schemas import Schema, ValidationLimits, Validator, legacy_errors_text
from headwater.schemas.schema import read_schema
from requirements import at_least_one, fixtures_folder, requires_fixtures

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = fixtures_folder()
VECTORS = FIXTURES / "intake" / "validation_vectors.json"
PAGE = ROOT / "docs" / "reference" / "schema-validation.md"
URI = "/vec/1.0.0"

pytestmark = requires_fixtures(VECTORS)


class OneSchema:
    """A repository of one document, stored as the vector has it (which may be no schema at all)."""

    def __init__(self, document: Any) -> None:
        self._data = json.dumps(document).encode()

    def get(self, uri: str) -> Schema:
        if uri != URI:
            raise SchemaNotFound(f"There is no schema {uri}.")
        return read_schema(uri, self._data, ValidationLimits())

    def uris(self) -> Iterable[str]:
        return [URI]


def _vectors() -> list[dict[str, Any]]:
    return json.loads(VECTORS.read_bytes())["vectors"] if VECTORS.exists() else []


def _deviations() -> dict[str, tuple[str, str]]:
    """Vector id → (recorded outcome, our outcome), from the page's table."""
    table = PAGE.read_text().split("## Deliberate deviations")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([^`]+)` \| (\w+) \| (\w+) \| (\S.*) \|$", table, re.MULTILINE)
    return {row[0]: (row[1], row[2]) for row in rows}


def _outcome(vector: dict[str, Any]) -> dict[str, Any]:
    event = copy.deepcopy(vector["event"])
    try:
        compiled = Validator(OneSchema(vector["schema"])).compile(URI)
    except HeadwaterError:
        return {"outcome": "error"}
    compiled.fill_defaults(event)
    if compiled.is_valid(event):
        return {"outcome": "valid", "event": event}
    errors = compiled.legacy_errors(event)
    return {"outcome": "invalid", "event": event, "errors": errors, "errorsText": legacy_errors_text(errors)}


def _recorded(vector: dict[str, Any]) -> dict[str, Any]:
    expected = vector["expected"]
    names = {"error": ["outcome"], "valid": ["outcome", "event"]}.get(
        expected["outcome"], ["outcome", "event", "errors", "errorsText"]
    )
    recorded = {name: copy.deepcopy(expected[name]) for name in names}
    for error in recorded.get("errors", ()):
        # ajv's mark on errors inside `propertyNames`; not among the five fields the intake's answers have.
        error.pop("propertyName", None)
    return recorded


@pytest.mark.parametrize("vector", _vectors(), ids=lambda vector: vector["id"])
def test_vector_agrees_or_is_a_listed_deviation(vector: dict[str, Any]) -> None:
    listed = _deviations().get(vector["id"])
    if listed is None:
        assert _outcome(vector) == _recorded(vector)
    else:
        assert listed == (vector["expected"]["outcome"], _outcome(vector)["outcome"])
        assert listed[0] != listed[1], "a listed deviation no longer deviates"


def test_every_listed_deviation_is_a_vector(capsys: pytest.CaptureFixture[str]) -> None:
    ids = {vector["id"] for vector in at_least_one(_vectors())}
    assert set(_deviations()) <= ids
    with capsys.disabled():
        agreeing = sum(_outcome(vector) == _recorded(vector) for vector in _vectors())
        print(f"\nvalidation vectors: {agreeing} of {len(ids)} agree exactly, {len(_deviations())} deviate on purpose")


def test_every_violation_has_a_pointer_a_keyword_and_a_sentence() -> None:
    for vector in at_least_one([vector for vector in _vectors() if vector["expected"]["outcome"] == "invalid"]):
        compiled = Validator(OneSchema(vector["schema"])).compile(URI)
        event = copy.deepcopy(vector["event"])
        compiled.fill_defaults(event)
        violations = compiled.violations(event)
        assert len(violations) == len(vector["expected"]["errors"])
        assert all(one.pointer == "" or one.pointer.startswith("/") for one in violations)
        assert all(one.keyword and one.message for one in violations)
