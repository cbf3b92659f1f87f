"""Of whatever passes its schemas a job makes outputs, or error events that say what is wrong with the event."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from wikimedia.project import PROJECT, Event, declared, job_named, run_files

EVENTS = 150
MEANINGFUL = {"INVALID_INPUT", "INVALID_OUTPUT", "NO_DIFFERENCE", "TIMEOUT", "RULE_FAILED", "JADE_INVALID"}
# `page_content_enrichment` has nothing without a wiki, and is tried on one elsewhere.
JOBS = (
    *("page_change_consolidation", "current_pages", "revision_diff", "mediawiki_history", "banner_impressions"),
    *("event_metrics", "reference_changes", "client_errors", "client_errors_first", "keyword_filter"),
    *("math_changes", "derived_page_data", "content_revisions", "content_history", "revision_tokens"),
    *("section_topics", "copy_edit", "add_a_link"),
    *("traffic_anomalies", "edit_types", "trending_edits", "trending_pageviews", "hourly_edits"),
    *(
        "image_suggestions_feedback",
        "image_suggestions_status",
        "image_suggestions_tags",
        "search_update",
        "search_update_each",
    ),
    *("change_propagation_rules", "event_verification", "event_verification_canaries"),
    *("referrer_spikes", "adaptive_rate_limits", "job_queue_admission"),
    *("jade_labels", "dependency_links", "dependency_changes", "history_gaps"),
    *("page_change_producer", "event_dashboards", "event_dashboard_charts", "rdf_operations"),
)
LIBRARIES = {
    "edit_types": "mwedittypes",
    "reference_changes": "mwparserfromhell",
    "math_changes": "pylatexenc",
    "derived_page_data": "mwedittypes",
    "revision_tokens": "WikiWho",
    "section_topics": "mwedittypes",
    "copy_edit": "spellchecker",
    "add_a_link": "mwedittypes",
}
TEXTS = (
    *(
        "",
        " ",
        "a",
        "River",
        "e\u0301é ß İ ẞ",
        "שלום",
        "\u202eمرحبا\u202c",
        "😀",
        "a\nb\r\nc\u2028d\x0ce",
        "FooBot",
        "\0",
    ),
    *(
        "192.0.2.1",
        "2001:DB8::1",
        "~2026-12345-67",
        "http://a.example/?1",
        "null",
        "-1",
        "x" * 300,
        "[[a]] {{b}} <ref>",
    ),
    *(
        '{"labels": {"en": 5}, "claims": {"P1": [5]}}',
        "[[[[",
        "{{{{",
        "<ref name=a>{{cite web|url=b}}</ref>",
        "{|\n|a\n|}",
    ),
)
TIMES = ("2026-01-31T12:00:00Z", "2026-01-31T12:00:59.999999Z", "2026-01-31t12:59:00+14:00", "2026-01-31T11:00:00Z")
FAR = ("1970-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "0000-01-01T00:00:00Z", "9999-12-31T23:59:60Z")
MODELS = ("wikitext", "wikitext", "css", "wikibase-item", "wikibase-property", "wikibase-lexeme", "")


def value_of(schema: Mapping[str, Any], chance: random.Random, given: float) -> Any:
    """A value that is valid; `given`: how probable it is that an optional field is there."""
    if "enum" in schema:
        return chance.choice(schema["enum"])
    kind = schema.get("type", "object")
    kind = chance.choice(kind) if isinstance(kind, list) else kind
    if kind == "object":
        return _object(schema, chance, given)
    if kind == "array":
        return [value_of(schema["items"], chance, given) for _ in range(chance.randint(0, 3))]
    if kind == "string":
        if schema.get("format") == "date-time":
            return chance.choice(FAR if chance.random() < 0.02 else TIMES)
        text = chance.choice(TEXTS) if schema.get("format") is None else "https://a.example/wiki/River"
        return text.ljust(schema.get("minLength", 0), "m")[: schema.get("maxLength")]
    if kind in ("integer", "number"):
        least, most = schema.get("minimum", -(2**53)), schema.get("maximum", 2**53)
        number = chance.choice([least, most, *(max(least, min(one, most)) for one in (0, 1, 2, 3, 12, 300))])
        return float(number) if chance.random() < 0.1 else number
    return chance.random() < 0.5 if kind == "boolean" else None


def _object(schema: Mapping[str, Any], chance: random.Random, given: float) -> dict[str, Any]:
    made = {
        name: value_of(one, chance, given)
        for name, one in schema.get("properties", {}).items()
        if name in schema.get("required", ()) or chance.random() < given
    }
    if isinstance(others := schema.get("additionalProperties"), dict):
        made |= {
            name: value_of(others, chance, given) for name in chance.sample(["main", "other"], chance.randint(0, 2))
        }
    return made


def event_of(stream: str, number: int, chance: random.Random) -> Event:
    title = declared()[0].get(stream).schema_title
    newest = chance.choice([file for file in (PROJECT / "schemas" / str(title)).iterdir() if file.stem != "current"])
    schema = _schema(newest)
    event: Event = value_of(schema, chance, chance.choice([0.1, 0.5, 0.9]))
    event["$schema"] = schema["$id"]
    event["meta"] |= {"stream": stream, "id": f"id{number}"}
    # Few pages and revisions, so that events meet.
    for holder in (event, event.get("page"), event.get("revision"), event.get("event")):
        for name in {"wiki_id", "database", "wiki", "page_id", "rev_id"} & (holder or {}).keys():
            if chance.random() < 0.9:
                holder[name] = (
                    "w" if isinstance(holder[name], str) else chance.randint(1, 2 if name == "page_id" else 6)
                )
    if stream == "mediawiki.page_content_change.v1":
        body = {"content_body": chance.choice(TEXTS), "content_model": chance.choice(MODELS)}
        event["revision"].setdefault("content_slots", {})["main"] = body
        event["meta"].pop("domain", None)
    return event


def _schema(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.load(file.read_text("utf-8"), yaml.CSafeLoader)
    return found


@pytest.mark.parametrize("name", JOBS)
def test_what_a_job_refuses_it_refuses_for_a_reason(name: str, tmp_path: Path) -> None:
    chance = random.Random(name)
    job = job_named(name, library=LIBRARIES.get(name))
    events = [event_of(chance.choice(job.reads()), number, chance) for number in range(EVENTS)]
    # As it is written: the text is not what a schema speaks about.
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    tables = [part for table in job.tables for part in ("--table", f"{table}={empty}")]
    ran = run_files(name, [json.dumps(event) for event in events], tmp_path, *tables)
    assert {error["error_type"] for error in ran.errors} <= MEANINGFUL, [error["message"] for error in ran.errors]
    assert len(ran.errors) < EVENTS
