"""The job math_changes: the invented golden, what is no formula, what only wikis know, and chemistry."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from requirements import at_least_one, requires_fixtures
from wikimedia.page_events import change
from wikimedia.project import FIXTURES, Event, interleaved, job_named, only, partitioned, read, run, run_files

JOB = "math_changes"
TEXTS = "synthetic/SYNTHETIC_math_revisions.jsonl"
GOLDEN = "synthetic/SYNTHETIC_math_diffs.expected.jsonl"


def events_and_cases() -> tuple[list[Event], dict[int, str]]:
    """A page for each case: what creates it with the text of the parent, and the edit."""
    cases = dict(enumerate(at_least_one(read(TEXTS)), start=1))
    events = [
        event
        for page_id, row in cases.items()
        for event in (
            change(1, row["parent_text"], kind="create", page_id=page_id),
            change(2, row["text"], page_id=page_id),
        )
    ]
    return events, {page_id: row["case"] for page_id, row in cases.items()}


def by_case(outputs: list[Event], cases: dict[int, str]) -> list[Event]:
    """The edits as the golden has them."""
    edits = sorted((row for row in outputs if row["rev_id"] == 2), key=lambda row: row["page_id"])
    for row in edits:
        row["added"] = only(row["added"], ["tex", "syntax_error"])
    return [{"case": cases[row["page_id"]], "added": row["added"], "removed": row["removed"]} for row in edits]


@requires_fixtures(FIXTURES)
async def test_the_changes_of_formulas_are_those_of_the_golden() -> None:
    events, cases = events_and_cases()
    canary = {**events[0], "meta": {**events[0]["meta"], "domain": "canary", "id": "canary"}}
    placed = interleaved(partitioned([*events, canary], ["page.page_id"], 3), seed=2)
    for restarts in (0, 3):
        ran = await run(job_named(JOB, library="pylatexenc"), placed, restarts=restarts)
        assert ran.errors == []
        assert by_case(ran.outputs, cases) == read(GOLDEN)


@requires_fixtures(FIXTURES)
def test_a_run_over_a_file_gives_the_same(tmp_path: Path) -> None:
    job_named(JOB, library="pylatexenc")
    events, cases = events_and_cases()
    ran = run_files(JOB, [*reversed(events), events[0]], tmp_path)
    assert ran.errors == []
    assert by_case(ran.outputs, cases) == read(GOLDEN)


async def changed(*texts: str | None) -> list[tuple[list[Any], list[Any], list[Any], list[Any]]]:
    events = [change(n, text, kind="edit" if n > 1 else "create", sha1=str(n)) for n, text in enumerate(texts, 1)]
    ran = await run(job_named(JOB, library="pylatexenc"), [(0, event) for event in events])
    assert ran.errors == []
    return [(event["added"], event["removed"], event["chem_added"], event["chem_removed"]) for event in ran.outputs]


def right(*formulas: str) -> list[Any]:
    return [{"tex": tex, "syntax_error": None} for tex in formulas]


@pytest.mark.parametrize(
    "text",
    [
        *("<nowiki><math>a</math></nowiki>", "<!-- <math>a</math> -->", "<pre><math>a</math></pre>", "<math>a"),
        *("<math />", "<mathx>a</mathx>", "x = <i>a</i>", "<syntaxhighlight><math>a</math></syntaxhighlight>"),
    ],
)
async def test_what_is_no_formula(text: str) -> None:
    assert await changed("", text, f"<math>z</math>{text}") == [(right("z"), [], [], [])]


async def test_formulas_wherever_they_are_and_however_they_are_written() -> None:
    text = "{{box|<MATH display=block>\n a \n</MATH>}}<ref><math>b</math></ref> [[c|<math>d</math>]] <chem>H2O</chem>"
    assert await changed(text) == [(right("a", "b", "d"), [], ["H2O"], [])]


async def test_attributes_and_white_space_around_a_formula_do_not_count_and_chemistry_is_by_itself() -> None:
    texts = ("<math>a</math>", "<math display=block> a\n</math>", "<ce>a</ce>", "<chem>b</chem>")
    assert await changed(*texts) == [
        (right("a"), [], [], []),
        ([], ["a"], ["a"], []),
        ([], [], ["b"], ["a"]),
    ]


@pytest.mark.parametrize(
    ("tex", "expected"),
    [
        (r"x \in \H", {"syntax_error": {"pos": 6}, "severity": "warning"}),
        (r"\R \frac{x", {"syntax_error": {"pos": 10}, "severity": "warning"}),
        ("{a % b}", {"syntax_error": {"pos": 7}, "severity": "warning"}),
        (r"{a \% b", {"syntax_error": {"pos": 7}, "severity": "error"}),
        (r"\sqrt", {"syntax_error": {"pos": 0}, "severity": "error"}),
        (r"\verb", {"syntax_error": {"pos": 5}, "severity": "error"}),
        (r"\unknown{x}", {"syntax_error": None}),
    ],
)
async def test_what_only_wikis_know_makes_an_error_a_warning(tex: str, expected: Any) -> None:
    ((added, *_),) = await changed(f"<math>{tex}</math>")
    assert added == [{"tex": tex, **expected}]


async def test_after_a_hidden_text_and_for_other_content_there_is_no_change() -> None:
    assert await changed("<math>a</math>", None, "<math>b</math>") == [(right("a"), [], [], [])]
    css = change(1, "<math>a</math>", kind="create", model="css")
    assert (await run(job_named(JOB, library="pylatexenc"), [(0, css)])).outputs == []
