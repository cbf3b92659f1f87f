"""The quick proof of compatibility never says more than the labels and the engine do."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headwater.schemas.compatibility import compare
from headwater.schemas.compatibility.additions import only_adds
from requirements import fixtures_folder, requires_fixtures

FIXTURES = fixtures_folder() / "schemas"
FILES = sorted(FIXTURES.glob("compat_cases*.json"))

pytestmark = requires_fixtures(FIXTURES)


def _pairs() -> list[tuple[Any, Any, Any]]:
    """Every labelled pair in both directions: (old, new, whether backward is labelled true)."""
    cases = [case for file in FILES for case in json.loads(file.read_text(encoding="utf-8"))]
    forth = [(case["old"], case["new"], case["expected"]["backward"]) for case in cases]
    return forth + [(case["new"], case["old"], case["expected"]["forward"]) for case in cases]


def test_what_only_adds_is_labelled_and_proved_compatible() -> None:
    proved = [
        pair for pair in _pairs() if isinstance(pair[0], dict) and isinstance(pair[1], dict) and only_adds(*pair[:2])
    ]
    assert proved
    for old, new, label in proved:
        comparison = compare(old, new)
        assert label is True, (old, new)
        assert comparison.backward.verdict == "yes", (old, new)
        assert comparison.storage.verdict in ("yes", "n/a"), (old, new)


@pytest.mark.parametrize(
    ("old", "new", "adds"),
    [
        ({"type": "object", "properties": {}}, {"type": "object", "properties": {"a": {"type": "string"}}}, True),
        ({"type": "string", "enum": ["a"]}, {"type": "string", "enum": ["a", "b"]}, True),
        ({"type": "object", "required": ["a"]}, {"type": "object"}, True),
        ({"type": "object"}, {"type": "object", "required": ["a"]}, False),
        ({"type": "string"}, {"type": "string", "maxLength": 5}, False),
        ({"type": "integer"}, {"type": "number"}, False),
        (
            {"type": "object", "properties": {}, "additionalProperties": {"type": "string"}},
            {
                "type": "object",
                "properties": {"a": {"type": "integer"}},
                "additionalProperties": {"type": "string"},
            },
            False,
        ),
    ],
)
def test_the_quick_proof_knows_additions_from_changes(old: dict[str, Any], new: dict[str, Any], adds: bool) -> None:
    assert only_adds(old, new) is adds
