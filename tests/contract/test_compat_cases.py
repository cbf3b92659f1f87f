"""Every labelled pair of schemas: backward, forward and storage in both content models, and the rule of old."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from headwater.schemas.compatibility import Answer, Comparison, compare, legacy_refusal
from headwater.schemas.dialect import DRAFT_07, DRAFT_2020_12
from requirements import fixtures_folder, requires_fixtures

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = fixtures_folder()
CASES = FIXTURES / "schemas" / "compat_cases.json"
PAGE = ROOT / "docs" / "reference" / "compatibility-of-schemas.md"
DIALECTS = {"draft-07": DRAFT_07, "2020-12": DRAFT_2020_12}
ENGINES = {"draft-07": jsonschema_rs.Draft7Validator, "2020-12": jsonschema_rs.Draft202012Validator}
LABELS = {"declared": "expected", "strict": "expected_strict"}
STORAGE = {"ok": "yes", "break": "no", "n/a": "n/a"}

pytestmark = requires_fixtures(CASES)


def _cases() -> list[Any]:
    cases = json.loads(CASES.read_bytes()) if CASES.exists() else []
    return [pytest.param(case, id=case["name"]) for case in cases]


@cache
def _refuted() -> set[tuple[str, str, str]]:
    """(case, content model, answer) of the labels that an instance disproves, from the page's table."""
    table = PAGE.read_text(encoding="utf-8").split("## Labels an instance disproves")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([^`]+)` \| (declared|strict) \| (backward|forward) \| (\S.*) \|$", table, re.MULTILINE)
    return {(row[0], row[1], row[2]) for row in rows}


def _compared(case: dict[str, Any], model: Any) -> Comparison:
    return compare(case["old"], case["new"], content_model=model, dialect=DIALECTS[case["draft"]])


@pytest.mark.parametrize("model", ["declared", "strict"])
@pytest.mark.parametrize("case", _cases())
def test_a_labelled_pair_gets_its_label(case: dict[str, Any], model: str) -> None:
    comparison = _compared(case, model)
    for direction in ("backward", "forward"):
        label = case[LABELS[model]][direction]
        answer: Answer = getattr(comparison, direction)
        if (case["name"], model, direction) in _refuted():
            assert (label, answer.verdict) == (True, "no"), "the page lists a label that is not disproved"
        else:
            assert answer.verdict == ("yes" if label else "no"), (direction, answer)


@pytest.mark.parametrize("case", _cases())
def test_a_labelled_pair_keeps_or_breaks_its_table(case: dict[str, Any]) -> None:
    assert _compared(case, "declared").storage.verdict == STORAGE[case["expected_storage"]]


@pytest.mark.parametrize("model", ["declared", "strict"])
@pytest.mark.parametrize("case", _cases())
def test_every_no_shows_an_instance_that_one_side_accepts_and_the_other_refuses(
    case: dict[str, Any], model: str
) -> None:
    comparison = _compared(case, model)
    engine = ENGINES[case["draft"]]
    accepts = {side: engine(case[side], validate_formats=True).is_valid for side in ("old", "new")}
    for answer, writer, reader in ((comparison.backward, "old", "new"), (comparison.forward, "new", "old")):
        assert bool(answer.reasons) == (answer.verdict == "no")
        for reason in answer.reasons:
            assert accepts[writer](reason.witness)
            assert not accepts[reader](reason.witness)
            assert reason.sentence
            assert reason.fix


@pytest.mark.parametrize(("release", "label"), [("1.3.0", "jsonschema_tools"), ("1.2.0", "jsonschema_tools_1_2_0")])
@pytest.mark.parametrize("case", _cases())
def test_the_rule_of_old_gives_its_recorded_verdict(case: dict[str, Any], release: Any, label: str) -> None:
    refusal = legacy_refusal(case["old"], case["new"], release)
    assert ("ok" if refusal is None else "fail") == case[label]
