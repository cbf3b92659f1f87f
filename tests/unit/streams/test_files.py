"""Stream files: what they may say, what is refused with file and line, and what defaults and families do."""

from __future__ import annotations

from pathlib import Path

import pytest

from headwater.errors import ConfigInvalid
from headwater.streams import Stream, StreamRegistry

MINIMAL = "stream: {name}\nschema_title: shop/order\n"


def write(directory: Path, **files: str) -> Path:
    """Files by name, `__` standing for a slash and the extension added."""
    for name, text in files.items():
        file = directory / (name.replace("__", "/") + ".yaml")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return directory


def complaint(directory: Path) -> str:
    with pytest.raises(ConfigInvalid) as caught:
        StreamRegistry.load(directory)
    return str(caught.value).replace(str(directory) + "/", "")


def declared(directory: Path, text: str) -> Stream:
    return StreamRegistry.load(write(directory, a="stream: a\nschema_title: t\n" + text)).get("a")


def test_the_smallest_file_declares_a_stream_with_the_documented_defaults(tmp_path: Path) -> None:
    stream = StreamRegistry.load(write(tmp_path, orders=MINIMAL.format(name="orders"))).get("orders")
    assert (stream.schema_title, stream.topics, stream.partitions) == ("shop/order", ("orders",), 1)
    assert (stream.meta_dt, stream.deduplicate, stream.event_time_field) == ("when_absent", True, "dt")
    assert (stream.canary_events_enabled, stream.compact, stream.retention_seconds) == (False, False, None)
    assert stream.legacy_settings() == {"schema_title": "shop/order", "stream": "orders", "topics": ["orders"]}


def test_every_key_that_changes_behaviour_reaches_the_stream(tmp_path: Path) -> None:
    stream = declared(
        tmp_path,
        """
event_time: placed_at
docs: {summary: Orders., owner: "team:shop"}
privacy: {class: restricted}
transport:
  topic_prefixes: [eqiad., codfw.]
  message_key_fields: {customer: customer.id}
  partitions: 3
  retention: 1.5h
  retention_bytes: 1000
  compact: true
produce:
  destination_event_service: main
  headers: {meta.request_id: X-Request-Id, agent: false}
  meta_dt: always
  deduplicate: false
  sample: {rate: 0.5, unit: session}
monitor: {canary: {enabled: true}}
extra: {anything: {at: all}}
""",
    )
    assert (stream.event_time_field, stream.summary, stream.owner) == ("placed_at", "Orders.", "team:shop")
    assert (stream.privacy_class, stream.topics) == ("restricted", ("eqiad.a", "codfw.a"))
    assert (stream.message_key_fields, stream.partitions) == ({"customer": "customer.id"}, 3)
    assert (stream.retention_seconds, stream.retention_bytes, stream.compact) == (5400.0, 1000, True)
    assert (stream.destination_event_service, stream.meta_dt, stream.deduplicate) == ("main", "always", False)
    assert stream.headers == {"meta.request_id": "x-request-id", "agent": None}
    assert (stream.sample, stream.canary_events_enabled) == ({"rate": 0.5, "unit": "session"}, True)
    assert stream.settings["anything"] == {"at": "all"}


def test_kafkas_words_mean_the_same_and_give_way_to_ours(tmp_path: Path) -> None:
    kafka = "  kafka: {partitions: 5, retention_ms: 60000, retention_bytes: -1, cleanup_policy: [delete, compact]}\n"
    key = "  message_key_fields: {k: k}\n"
    stream = declared(tmp_path, "transport:\n" + kafka + key)
    assert (stream.partitions, stream.retention_seconds, stream.retention_bytes) == (5, 60.0, None)
    assert stream.compact is True
    assert declared(tmp_path, "transport:\n  partitions: 2\n  compact: false\n" + kafka).partitions == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("owner: me\n", 'a.yaml:3: unknown key "owner". It belongs in "docs.owner".'),
        ("retention: 7d\n", 'a.yaml:3: unknown key "retention". It belongs in "transport.retention".'),
        ("produce:\n  meta_dtt: x\n", 'a.yaml:4: unknown key "meta_dtt" in produce. Did you mean "meta_dt"?'),
        ("docs:\n  links:\n  - {title: t, urll: u}\n", 'a.yaml:5: unknown key "urll" in docs.links[0].'),
        ("transport:\n  retention: 7\n", "a.yaml:4: transport.retention must be a duration with its unit"),
        ("transport: {partitions: 0}\n", "a.yaml:3: transport.partitions must be a whole number, 1 or more."),
        ("transport: {topics: []}\n", "a.yaml:3: transport.topics must be a list of at least one text."),
        ("transport: {compact: true}\n", "a.yaml:3: a compacted stream needs transport.message_key_fields."),
        ("produce: {meta_dt: never}\n", 'a.yaml:3: produce.meta_dt must be "when_absent" or "always".'),
        ("produce: {sample: {rate: 2}}\n", "a.yaml:3: produce.sample.rate must be a number from 0 to 1."),
        ("produce: {headers: {a: true}}\n", "a.yaml:3: produce.headers must be a mapping of dotted path"),
        ("monitor: {canary: true}\n", "a.yaml:3: monitor.canary must be a mapping."),
        ("kind: Topic\n", 'a.yaml:3: kind must be "Stream".'),
    ],
)
def test_a_complaint_says_file_line_and_a_way_out(tmp_path: Path, text: str, expected: str) -> None:
    write(tmp_path, a="stream: a\nschema_title: t\n" + text)
    assert expected in complaint(tmp_path)


def test_the_file_is_named_like_the_stream(tmp_path: Path) -> None:
    write(tmp_path, a="\nstream: b\nschema_title: t\n")
    assert complaint(tmp_path) == (
        'a.yaml:2: the file is named "a", the stream "b". Rename the file to "b.yaml", or the stream.'
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("schema_title: t\n", 'a.yaml:1: "stream" is missing. Write "stream: a".'),
        ("stream: a\n", 'a.yaml:1: "schema_title" is missing.'),
        ("", "a.yaml:1: must be a mapping that declares a stream."),
        ("stream: 'a b'\nschema_title: t\n", '"a b" is not a valid stream name'),
        ("stream: /^a/\nschema_title: t\n", "Move the file to families/."),
    ],
)
def test_a_file_without_a_proper_stream_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    write(tmp_path, a=text)
    assert expected in complaint(tmp_path)


def test_two_files_of_one_stream_are_an_error_that_names_both(tmp_path: Path) -> None:
    write(tmp_path, a=MINIMAL.format(name="a"), team__a=MINIMAL.format(name="a"))
    text = complaint(tmp_path)
    assert 'team/a.yaml:1: the stream "a" is already declared in a.yaml:1.' in text


def test_defaults_lie_under_every_file_and_a_files_list_replaces_theirs(tmp_path: Path) -> None:
    write(
        tmp_path,
        defaults="transport: {topic_prefixes: [x., y.], partitions: 2}\nproduce: {headers: {a: h}}\n",
        inherits=MINIMAL.format(name="inherits"),
        none=MINIMAL.format(name="none") + "transport: {topic_prefixes: []}\n",
        one=MINIMAL.format(name="one") + "transport: {topic_prefixes: [z.]}\nproduce: {headers: {b: i}}\n",
    )
    registry = StreamRegistry.load(tmp_path, defaults={"docs": {"owner": "team:all"}})
    assert registry.get("inherits").topics == ("x.inherits", "y.inherits")
    assert (registry.get("none").topics, registry.get("none").partitions) == (("none",), 2)
    assert registry.get("none").legacy_settings()["topics"] == ["none"]
    assert (registry.get("one").topics, registry.get("one").headers) == (("z.one",), {"a": "h", "b": "i"})
    assert registry.get("one").owner == "team:all"


def test_a_complaint_about_the_defaults_names_their_file(tmp_path: Path) -> None:
    write(tmp_path, defaults="transport:\n  partitons: 2\n")
    assert complaint(tmp_path) == ('defaults.yaml:2: unknown key "partitons" in transport. Did you mean "partitions"?')


def test_families_stand_in_a_directory_of_their_own_and_are_tried_in_order_of_file_names(tmp_path: Path) -> None:
    write(
        tmp_path,
        families__20_jobs="stream: /^jobs\\./\nschema_title: job\ntransport: {topic_prefixes: [x.]}\n",
        families__10_fast="stream: /^jobs\\.fast/\nschema_title: fast\n",
    )
    registry = StreamRegistry.load(tmp_path)
    assert [family.schema_title for family in registry.families()] == ["fast", "job"]
    assert (registry.get("jobs.fast").schema_title, registry.get("jobs.slow").topics) == ("fast", ("x.jobs.slow",))


def test_a_family_that_is_no_regex_is_refused(tmp_path: Path) -> None:
    write(tmp_path, families__a="stream: /(/\nschema_title: t\n")
    assert 'families/a.yaml:1: the stream family "/(/" is not a regular expression' in complaint(tmp_path)


def test_other_files_of_the_format_and_hidden_files_are_no_streams(tmp_path: Path) -> None:
    write(tmp_path, services="main: {}\n", owners="a: b\n", a=MINIMAL.format(name="a"))
    (tmp_path / ".hidden.yaml").write_text("nonsense: 1\n")
    assert StreamRegistry.load(tmp_path).names() == ("a",)


def test_a_place_without_streams_is_refused_and_an_empty_directory_is_not(tmp_path: Path) -> None:
    assert "there are no streams in this directory" in complaint(tmp_path / "absent")
    assert StreamRegistry.load(tmp_path).names() == ()


def test_a_stream_file_maps_to_the_legacy_settings(tmp_path: Path) -> None:
    stream = declared(
        tmp_path,
        """
transport: {topic_prefixes: [], message_key_fields: {p: page.id}}
produce:
  destination_event_service: main
  by: [{name: eventbus, enabled: true}]
  sample: null
  headers: {meta.request_id: x-request-id, agent: false}
consume: {hive: {enabled: true, scale: medium}}
monitor: {canary: {enabled: false}}
extra: {custom: [1, null], consumers: {hive: {scale: large}}}
""",
    )
    assert stream.legacy_settings() == {
        "schema_title": "t",
        "topic_prefixes": None,
        "message_key_fields": {"p": "page.id"},
        "destination_event_service": "main",
        "canary_events_enabled": False,
        "producers": {
            "eventbus": {"enabled": True},
            "eventgate": {"enrich_fields_from_http_headers": {"meta.request_id": "x-request-id", "agent": False}},
        },
        "consumers": {"hive": {"enabled": True, "scale": "large"}},
        "custom": [1, None],
        "stream": "a",
        "topics": ["a"],
    }


def test_a_file_of_many_stands_among_the_others_with_defaults_of_its_own(tmp_path: Path) -> None:
    write(
        tmp_path,
        defaults="transport: {partitions: 4}\n",
        many="default_settings: {topic_prefixes: [x.]}\nstreams:\n  b: {schema_title: t, odd: {kept: 1}}\n",
        a=MINIMAL.format(name="a"),
    )
    registry = StreamRegistry.load(tmp_path)
    assert (registry.get("b").topics, registry.get("b").partitions) == (("x.b",), 1)
    assert registry.get("b").settings["odd"] == {"kept": 1}
    assert (registry.get("a").topics, registry.get("a").partitions) == (("a",), 4)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("streams:\n- {stream: a}\n- {stream: a}\n", 'the stream "a" is already declared in many.yaml:2.'),
        ("streams:\n  a: {}\n  '0': {stream: a}\n", 'many.yaml:3: the stream "a" is already declared'),
        ("streams:\n  a: {}\n  a: {}\n", 'many.yaml:3: the key "a" is already on line 2.'),
        ("streams: {}\ndefaults: {}\n", 'unknown key "defaults". Did you mean "default_settings"?'),
        ("streams:\n  a:\n    topic_prefixes: x.\n", "many.yaml:3: topic_prefixes must be a list or null."),
        ("streams:\n  a: {topics: t}\n", "many.yaml:2: topics must be a list or null."),
        ("streams:\n  a: {schema_title: 3}\n", "many.yaml:2: schema_title of a must be text."),
        ("streams:\n  /x: {}\n", 'many.yaml:2: the stream family "/x" has no closing slash.'),
        ("streams:\n  a: 3\n", "many.yaml:2: a must be a mapping."),
        ("streams:\n- {stream: [a]}\n", "many.yaml:2: the name of a stream must be text."),
    ],
)
def test_a_wrong_file_of_many_is_refused_with_its_line(tmp_path: Path, text: str, expected: str) -> None:
    write(tmp_path, many=text)
    assert expected in complaint(tmp_path).replace(str(tmp_path) + "/", "")


def test_list_style_entries_are_named_by_their_inner_stream_and_keyed_ones_by_their_key(tmp_path: Path) -> None:
    write(tmp_path, many="streams:\n  '0': {stream: inner, schema_title: t}\n  keyed: {stream: other}\n  '7': {}\n")
    registry = StreamRegistry.load(tmp_path / "many.yaml")
    assert registry.names() == ("inner", "keyed", "7")
    assert registry.get("keyed").legacy_settings()["stream"] == "keyed"
