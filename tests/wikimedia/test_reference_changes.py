"""The job reference_changes: the golden of a real page, and each kind of reference and of malformed text."""

from __future__ import annotations

from typing import Any

import pytest

from requirements import at_least_one, requires_fixtures
from wikimedia.page_events import change
from wikimedia.project import FIXTURES, interleaved, job_named, read, run

JOB = "reference_changes"
PAGE = "derived/page_content_change_adam_himebauch.expected.jsonl.gz"
GOLDEN = "golden/adam_himebauch.unified_diff_and_entities.jsonl.gz"


@requires_fixtures(FIXTURES)
async def test_the_references_of_a_real_page_change_as_in_the_golden() -> None:
    expected = {row["rev_id"]: row["references"] for row in at_least_one(read(GOLDEN)) if "references" in row}
    events = read(PAGE)
    other = [{**event, "wiki_id": "otherwiki"} for event in events[:20]]

    ran = await run(job_named(JOB, library="mwparserfromhell"), interleaved([events, other], seed=3))

    assert ran.errors == []
    found = {}
    for event in ran.outputs:
        raw = {side: [one["raw"] for one in event[side] if one["kind"] == "ref"] for side in ("added", "removed")}
        if event["wiki_id"] != "otherwiki" and (raw["added"] or raw["removed"]):
            found[event["rev_id"]] = raw
    assert found == expected


async def changed(*texts: str | None) -> list[tuple[list[Any], list[Any], bool]]:
    events = [change(n, text, kind="edit" if n > 1 else "create", sha1=str(n)) for n, text in enumerate(texts, 1)]
    ran = await run(job_named(JOB, library="mwparserfromhell"), [(0, event) for event in events])
    assert ran.errors == []
    return [(event["added"], event["removed"], event["malformed"]) for event in ran.outputs]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<ref>x</ref>", [{"kind": "ref", "raw": "<ref>x</ref>"}]),
        ("<REF>x</REF>", [{"kind": "ref", "raw": "<REF>x</REF>"}]),
        ('<ref name="a" />', [{"kind": "ref", "raw": '<ref name="a" />', "name": "a"}]),
        (
            "<ref name=a>[https://a.example/x title]</ref>",
            [
                {
                    "kind": "ref",
                    "raw": "<ref name=a>[https://a.example/x title]</ref>",
                    "name": "a",
                    "url": "https://a.example/x",
                }
            ],
        ),
        (
            "<ref>{{cite book|ISBN=1|doi= 10.1/x |URL=u}}</ref>",
            [
                {
                    "kind": "ref",
                    "raw": "<ref>{{cite book|ISBN=1|doi= 10.1/x |URL=u}}</ref>",
                    "url": "u",
                    "doi": "10.1/x",
                    "isbn": "1",
                    "template": "cite book",
                }
            ],
        ),
        ("{{Cite web|url=u}}", [{"kind": "bare", "raw": "{{Cite web|url=u}}", "url": "u", "template": "Cite web"}]),
        ("{{box|x=<ref>y</ref>}}", [{"kind": "ref", "raw": "<ref>y</ref>"}]),
        ("<references><ref>y</ref></references>", [{"kind": "ref", "raw": "<ref>y</ref>"}]),
        ("<ref>x</ref><ref>x</ref>", [{"kind": "ref", "raw": "<ref>x</ref>"}] * 2),
    ],
)
async def test_each_way_to_write_a_reference(text: str, expected: list[Any]) -> None:
    assert await changed("", text, "") == [(expected, [], False), ([], expected, False)]


@pytest.mark.parametrize(
    "text",
    ["{{citepage}}", "{{city}}", "<!-- <ref>x</ref> -->", "<nowiki><ref></nowiki>", "<references />", "<refx>y</refx>"],
)
async def test_what_is_no_reference(text: str) -> None:
    assert await changed("", text) == []
    assert await changed("", f"{text}<ref>z</ref>") == [([{"kind": "ref", "raw": "<ref>z</ref>"}], [], False)]


async def test_an_unclosed_reference_is_flagged_and_the_others_are_found() -> None:
    assert await changed("<ref>a</ref> <ref>b") == [([{"kind": "ref", "raw": "<ref>a</ref>"}], [], True)]


async def test_an_edited_reference_is_removed_and_added_and_a_moved_one_is_nothing() -> None:
    a, b = {"kind": "ref", "raw": "<ref>a</ref>"}, {"kind": "ref", "raw": "<ref>b</ref>"}
    assert await changed("<ref>a</ref> x", "y <ref>a</ref>", "<ref>b</ref>") == [([a], [], False), ([b], [a], False)]


async def test_after_a_hidden_text_there_is_no_change() -> None:
    assert await changed("<ref>a</ref>", None, "<ref>b</ref>") == [
        ([{"kind": "ref", "raw": "<ref>a</ref>"}], [], False)
    ]


async def test_other_content_models_have_no_references() -> None:
    events = [change(1, "<ref>a</ref>", kind="create", model="css")]
    ran = await run(job_named(JOB, library="mwparserfromhell"), [(0, event) for event in events])
    assert (ran.outputs, ran.errors) == ([], [])
