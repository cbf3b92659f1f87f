"""Layers of a stream: which hold for whom, what the one merge rule makes of them, and who set what."""

from __future__ import annotations

from pathlib import Path

import pytest

from headwater.errors import ConfigInvalid, StreamUnknown
from headwater.streams import Stream, StreamRegistry
from headwater.streams.files import read_layers
from headwater.streams.layers import Layer, Scope, StreamLayers, When
from headwater.streams.merge import find, lay_over, leaves, without

DEFAULTS = """
transport: {topic_prefixes: [a., b.]}
produce: {headers: {meta.request_id: x-request-id}, by: {bus: {enabled: true}}}
overrides:
- when: {site_group: private}
  set: {produce: {by: {bus: {enabled: false}}}}
"""
ORDERS = """
stream: orders
schema_title: shop/order
produce: {sample: {rate: 0.2, unit: session}}
overrides:
- when: {site: [one, two]}
  set: {produce: {sample: {rate: 1}}}
- when: {site: two}
  unset: [produce.sample, produce.headers.meta.request_id]
  set: {transport: {topic_prefixes: [c.]}}
- when: {realm: test}
  set: {exists: false}
"""


@pytest.fixture
def layers(tmp_path: Path) -> StreamLayers:
    (tmp_path / "defaults.yaml").write_text(DEFAULTS, encoding="utf-8")
    (tmp_path / "orders.yaml").write_text(ORDERS, encoding="utf-8")
    (tmp_path / "sites.yaml").write_text("groups: {private: [two, three]}\n", encoding="utf-8")
    return read_layers(tmp_path)


def seen(layers: StreamLayers, site: str | None = None, **others: object) -> Stream:
    stream = layers.stream("orders", Scope(site=site, **others))  # type: ignore[arg-type]
    assert stream is not None
    return stream


def test_mappings_merge_and_everything_else_replaces() -> None:
    under = {"a": {"b": 1, "c": [1, 2]}, "d": 1}
    assert lay_over(under, {"a": {"c": []}, "d": None}) == {"a": {"b": 1, "c": []}, "d": None}
    assert lay_over(under, {"a": False}) == {"a": False, "d": 1}
    assert under == {"a": {"b": 1, "c": [1, 2]}, "d": 1}


def test_a_dotted_key_is_found_also_where_keys_have_dots() -> None:
    document = {"produce": {"headers": {"meta.request_id": "x", "meta": {"request_id": "y"}}}}
    assert find(document, "produce.headers.meta.request_id") == ("produce", "headers", "meta.request_id")
    assert without(document, "produce.headers.meta.request_id") == {
        "produce": {"headers": {"meta": {"request_id": "y"}}}
    }
    assert (find(document, "produce.x"), without(document, "x.y")) == (None, document)
    assert list(leaves({"a": {"b": 1, "c": {}}})) == [(("a", "b"), 1), (("a", "c"), {})]


def test_overrides_hold_for_their_sites_and_the_last_wins(layers: StreamLayers) -> None:
    assert seen(layers).sample == {"rate": 0.2, "unit": "session"}
    assert seen(layers, "one").sample == {"rate": 1, "unit": "session"}
    assert (seen(layers, "two").sample, seen(layers, "two").headers) == (None, {})
    assert (seen(layers, "two").topics, seen(layers).topics) == (("c.orders",), ("a.orders", "b.orders"))


def test_overrides_of_the_defaults_lie_under_the_files(layers: StreamLayers) -> None:
    assert seen(layers, "three").settings["producers"]["bus"] == {"enabled": False}
    assert seen(layers, "one").settings["producers"]["bus"] == {"enabled": True}


def test_a_stream_may_exist_for_some_only(layers: StreamLayers) -> None:
    assert layers.stream("orders", Scope(realm="test")) is None
    assert StreamRegistry(layers=layers, scope=Scope(realm="test")).names() == ()


def test_a_registry_is_seen_from_a_site_and_stays_what_it_was(layers: StreamLayers) -> None:
    registry = StreamRegistry(layers=layers)
    other = registry.seen_from(Scope("one"))
    assert (registry.get("orders").sample, other.get("orders").sample) == (
        {"rate": 0.2, "unit": "session"},
        {"rate": 1, "unit": "session"},
    )
    assert registry.seen_from(Scope()) is registry


def test_a_revision_lies_on_top_within_its_window_for_its_stream(layers: StreamLayers) -> None:
    revision = Layer(
        "revision 7",
        {"produce": {"sample": {"rate": 0.5}}},
        when=When(sites=frozenset({"one"}), not_before=100.0, not_after=200.0),
        stream="orders",
    )
    revised = layers.with_revisions([revision])
    rates = {at: seen(revised, "one", at=at).sample for at in (99.0, 100.0, 199.9, 200.0)}
    assert [sample["rate"] for sample in rates.values() if sample] == [1, 0.5, 0.5, 1]
    assert [
        step.layer.name for step in revised.steps("orders", Scope("one", at=150.0))["produce", "sample", "rate"]
    ] == [
        "orders.yaml",
        "override 1 of orders.yaml",
        "revision 7",
    ]
    assert seen(revised, "one").sample == {"rate": 1, "unit": "session"}
    assert seen(layers.with_revisions([]), "one", at=150.0).sample == {"rate": 1, "unit": "session"}


def test_a_revision_reaches_streams_of_legacy_files_and_of_code(tmp_path: Path) -> None:
    (tmp_path / "legacy.yaml").write_text(
        "default_settings: {topic_prefixes: [a.]}\nstreams: {s: {schema_title: t, odd: {x: 1}}}\n", encoding="utf-8"
    )
    revision = Layer("revision 1", {"produce": {"sample": {"rate": 0}}})
    registry = StreamRegistry.load(tmp_path / "legacy.yaml").extended([Stream("code", schema_title="error")])
    revised = registry.revised([revision])
    assert [stream.name for stream in revised.entries()] == ["s"]
    own = {"topic_prefixes": ["a."], "schema_title": "t", "odd": {"x": 1}}
    assert revised.get("s").settings == own | {"sample": {"rate": 0}}
    assert (revised.get("s").topics, revised.get("code").sample) == (("a.s",), {"rate": 0})
    assert registry.get("s").sample is None


def test_every_key_has_the_layer_and_the_line_that_set_it(layers: StreamLayers) -> None:
    steps = layers.steps("orders", Scope("two"))
    last = {".".join(path): done[-1] for path, done in steps.items()}
    rate = steps["produce", "sample", "rate"]
    assert [(step.layer.name, step.removed) for step in rate] == [
        ("orders.yaml", False),
        ("override 1 of orders.yaml", False),
        ("override 2 of orders.yaml", True),
    ]
    assert [step.layer.line_of(("produce", "sample", "rate")) for step in rate[:2]] == [4, 7]
    assert last["transport.topic_prefixes"].layer.line_of(("transport", "topic_prefixes")) == 10
    assert last["produce.by.bus.enabled"].layer.name == "override 1 of defaults.yaml"
    document = layers.document("orders", Scope("two"))
    kept = {path: done[-1].value for path, done in steps.items() if not done[-1].removed}
    assert kept == dict(leaves(document))


def test_what_a_scope_makes_incomplete_is_refused_with_the_file(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(
        "stream: s\nschema_title: t\noverrides:\n- {when: {site: w}, set: {transport: {compact: true}}}\n"
    )
    layers = read_layers(tmp_path)
    assert layers.stream("s", Scope()) is not None
    with pytest.raises(ConfigInvalid, match=r"s\.yaml:4: a compacted stream needs"):
        layers.stream("s", Scope("w"))
    with pytest.raises(StreamUnknown):
        layers.stream("other", Scope())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("overrides: [{set: {}}]\n", "s.yaml:3: overrides[0] needs a `when`. Say where it applies."),
        ("overrides:\n- when: {wiki: w}\n", 's.yaml:4: unknown key "wiki" in overrides[0].when.'),
        ("overrides:\n- when: {site: w}\n  set: {sampel: 1}\n", 's.yaml:5: unknown key "sampel" in overrides[0].set.'),
        ("overrides:\n- when: {site: w}\n  set: {stream: t}\n", 'unknown key "stream" in overrides[0].set.'),
        ("overrides:\n- when: {site: []}\n", "overrides[0].when.site must be text or a list of texts."),
        ("produce: {by: {bus: {enabled: 1}}}\n", "produce.by.bus.enabled must be true or false."),
    ],
)
def test_a_wrong_override_is_refused_with_its_line(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "s.yaml").write_text("stream: s\nschema_title: t\n" + text, encoding="utf-8")
    with pytest.raises(ConfigInvalid) as caught:
        read_layers(tmp_path)
    assert expected in str(caught.value).replace(f"{tmp_path}/", "")
