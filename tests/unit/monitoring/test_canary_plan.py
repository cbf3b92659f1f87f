"""Which streams get canaries, and through which intake: every topic by its prefix, or a reason why not."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from headwater.config import load_config
from headwater.errors import ConfigInvalid, SchemaInvalid, SchemaNotFound
from headwater.monitoring.canary_event import canary_event, is_canary
from headwater.monitoring.canary_plan import CanaryPlan, Target, Topology, claiming, plan_of
from headwater.monitoring.intakes import Intakes, read_intakes
from headwater.schemas.schema import Schema
from headwater.streams.registry import StreamRegistry
from headwater.streams.stream import Stream

NOW_MS = 1_700_000_000_123
PREFIXES = ("eqiad.", "codfw.")
DOCUMENT: dict[str, Any] = {
    "title": "note",
    "$id": "/note/1.2.0",
    "properties": {
        "$schema": {},
        "dt": {},
        "text": {},
        "meta": {"properties": {"id": {}, "dt": {}, "stream": {}, "domain": {}}},
    },
    "examples": [
        {
            "$schema": "/note/1.0.0",
            "dt": "2020-01-01T00:00:00Z",
            "text": "river",
            "meta": {"stream": "other", "domain": "example.org", "id": "old", "dt": "2020-01-01T00:00:00Z", "uri": "u"},
        }
    ],
}
SCHEMA = Schema("/note/1.2.0", DOCUMENT, "note", "draft-07")


def stream(**more: Any) -> Stream:
    settings = {"name": "notes", "schema_title": "note", "destination_event_service": "main", **more}
    return Stream(canary_events_enabled=True, **settings)


def planned(one: Stream, topology: Topology, schema: Any = SCHEMA) -> CanaryPlan:
    return plan_of(one, schema, topology, load_config(Path("/nowhere"), environment={}))


def alone(prefix: str = "", addresses: Any = None) -> Topology:
    return Topology(Intakes(addresses), "headwater-intake", prefix)


def test_a_canary_is_the_example_with_a_fresh_id_the_present_time_and_the_mark() -> None:
    first, second = (canary_event(stream(), SCHEMA, NOW_MS) for _ in range(2))
    assert first["$schema"] == "/note/1.2.0"
    assert first["text"] == "river"
    assert first["dt"] == first["meta"]["dt"] == "2023-11-14T22:13:20.123Z"
    assert (first["meta"]["domain"], first["meta"]["stream"], first["meta"]["uri"]) == ("canary", "notes", "u")
    assert len({first["meta"]["id"], second["meta"]["id"], "old"}) == 3
    assert DOCUMENT["examples"][0]["meta"]["id"] == "old"


def test_fields_that_neither_example_nor_schema_has_are_not_made_up() -> None:
    document = {"properties": {"meta": {"properties": {"stream": {}}}}, "examples": [{"text": "x"}]}
    event = canary_event(stream(), Schema("/bare/1.0.0", document, "bare", ""), NOW_MS)
    assert event == {"$schema": "/bare/1.0.0", "text": "x", "meta": {"domain": "canary", "stream": "notes"}}


@pytest.mark.parametrize("examples", [None, [], ["text"], {}])
def test_without_an_example_there_is_no_canary(examples: Any) -> None:
    schema = Schema("/note/1.2.0", {**DOCUMENT, "examples": examples}, "note", "")
    with pytest.raises(SchemaInvalid, match="has no example"):
        canary_event(stream(), schema, NOW_MS)
    plan = planned(stream(), alone(), schema)
    assert not plan.is_possible
    assert "has no example" in plan.problems[0]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b'{"meta":{"domain":"canary"}}', True),
        (b'{"meta":{"domain": "canary", "stream": "x"}}', True),
        (b'{"meta":{"domain":null}, "bird": "canary"}', False),
        (b'{"domain":"canary"}', False),
        (b'{"meta":"canary"}', False),
        (b'["canary"]', False),
        (b'"canary', False),
    ],
)
def test_only_meta_domain_makes_an_event_a_canary(value: bytes, expected: bool) -> None:
    assert is_canary(value) is expected


def test_an_intake_without_a_datacenter_writes_every_topic_of_a_stream() -> None:
    plan = planned(stream(topic_prefixes=PREFIXES), alone())
    assert plan.targets == (Target("eqiad.notes", "eqiad."), Target("codfw.notes", "codfw."))
    assert plan.problems == ()


def test_an_intake_of_one_datacenter_leaves_the_other_to_its_address() -> None:
    addresses = {"main": {"codfw": "http://codfw/v1/events"}}
    plan = planned(stream(topic_prefixes=PREFIXES), alone("eqiad.", addresses))
    assert plan.targets == (Target("eqiad.notes", "eqiad."), Target("codfw.notes", "codfw.", "http://codfw/v1/events"))


def test_a_datacenter_without_an_address_is_a_problem_of_that_stream() -> None:
    plan = planned(stream(topic_prefixes=PREFIXES), alone("eqiad."))
    assert plan.targets == (Target("eqiad.notes", "eqiad."),)
    assert plan.problems == ('No intake is known for "codfw.": add the URL of main there to services.yaml.',)


def test_the_intake_of_this_process_is_not_asked_over_http() -> None:
    topology = Topology(
        Intakes({"main": {"eqiad": "http://self/v1/events", "codfw": "http://codfw"}}), "main", "eqiad."
    )
    plan = planned(stream(topic_prefixes=PREFIXES), topology)
    assert [target.url for target in plan.targets] == [None, "http://codfw"]


def test_topics_given_by_name_are_found_by_their_prefix_and_others_reported() -> None:
    topics = ("eqiad.renamed", "codfw.renamed", "elsewhere")
    plan = planned(stream(topic_prefixes=PREFIXES, topics=topics), alone())
    assert [target.topic for target in plan.targets] == ["eqiad.renamed", "codfw.renamed"]
    assert "elsewhere" in plan.problems[0]


def test_a_stream_without_prefixes_gets_one_canary() -> None:
    addresses = {"main": {"eqiad": "http://eqiad", "codfw": "http://codfw"}}
    assert planned(stream(), alone(addresses={"main": {}})).targets == (Target("notes", ""),)
    assert planned(stream(), alone(addresses=addresses)).targets == (Target("notes", "", "http://eqiad"),)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"destination_event_service": None}, "names no intake"),
        ({"destination_event_service": "unheard"}, "not in services.yaml"),
        ({"schema_title": None}, "no `schema_title`"),
        ({"name": "/^notes\\..+/"}, "family"),
        ({"compact": True, "message_key_fields": {"id": "meta.id"}}, "compacted"),
    ],
)
def test_what_cannot_have_canaries_says_why(changes: dict[str, Any], words: str) -> None:
    plan = planned(stream(**changes), alone(addresses={"main": {}}))
    assert not plan.is_possible
    assert words in plan.problems[0]


def test_a_missing_schema_is_the_reason() -> None:
    plan = planned(stream(), alone(), SchemaNotFound("No schema has the title note.", hint="Publish it."))
    assert plan.problems == ("No schema has the title note. Publish it.",)


def test_only_streams_that_say_so_and_take_events_claim_canaries() -> None:
    silent = dataclasses.replace(stream(name="silent"), canary_events_enabled=False)
    killed = stream(name="killed", enabled=False)
    family = stream(name="/^jobs\\..+/")
    registry = StreamRegistry([stream(), silent, killed, family])
    assert [one.name for one in claiming(registry)] == ["notes", "/^jobs\\..+/"]


def test_times_are_those_of_the_stream_or_the_configured_ones() -> None:
    own = stream(declared={"monitor": {"canary": {"period": "30m", "required_within": "2h"}}})
    assert planned(own, alone()).period_seconds == 1800
    assert planned(own, alone()).required_within_seconds == 7200
    assert planned(stream(), alone()).period_seconds == 900
    # A canary an hour cannot be required within the hour.
    slow = stream(declared={"monitor": {"canary": {"period": "1h"}}})
    assert planned(slow, alone()).required_within_seconds == 7200


def test_services_yaml_gives_addresses_by_intake_and_datacenter(tmp_path: Path) -> None:
    file = tmp_path / "services.yaml"
    file.write_text("main: {eqiad: 'http://one:8080', codfw: 'http://two/base/v1/events'}\nanalytics: {}\n")
    assert read_intakes(file) == {
        "main": {"eqiad": "http://one:8080/v1/events", "codfw": "http://two/base/v1/events"},
        "analytics": {},
    }
    assert read_intakes(tmp_path / "absent.yaml") is None


@pytest.mark.parametrize("text", ["main: {eqiad: 5}", "main: {eqiad: intake}", "main: [http://x]", "5"])
def test_what_is_no_address_is_refused_with_its_line(tmp_path: Path, text: str) -> None:
    file = tmp_path / "services.yaml"
    file.write_text(f"# where intakes are\n{text}\n")
    with pytest.raises(ConfigInvalid, match=r"services\.yaml:2: "):
        read_intakes(file)
