"""Which stream a name means, and which topic it is written to."""

from __future__ import annotations

import pytest

from headwater.errors import ConfigInvalid, StreamUnknown
from headwater.streams import Stream, StreamRegistry

DATACENTERS = ("eqiad.", "codfw.")


def test_an_exact_name_comes_before_a_family_that_also_matches() -> None:
    registry = StreamRegistry([Stream("/^jobs/", schema_title="job"), Stream("jobs.a", schema_title="a")])
    assert (registry.get("jobs.a").schema_title, registry.get("jobs.b").schema_title) == ("a", "job")


def test_families_are_tried_in_order_even_where_a_later_one_is_more_specific() -> None:
    registry = StreamRegistry([Stream("/^a/", schema_title="first"), Stream("/^a\\.b/", schema_title="second")])
    assert registry.get("a.b").schema_title == "first"


def test_a_member_of_a_family_is_a_stream_of_its_own_with_its_own_topics() -> None:
    registry = StreamRegistry([Stream("/^jobs\\./", topic_prefixes=DATACENTERS)])
    member = registry.get("jobs.x")
    assert (member.name, member.family, member.is_family) == ("jobs.x", "/^jobs\\./", False)
    assert member.topics == ("eqiad.jobs.x", "codfw.jobs.x")
    assert registry.get("jobs.x") is member


def test_the_text_of_a_family_is_no_stream() -> None:
    registry = StreamRegistry([Stream("/jobs/")])
    with pytest.raises(StreamUnknown):
        registry.get("/jobs/")


def test_an_unknown_stream_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(StreamUnknown, match=r'"shop\.ordres" is not declared\. Did you mean "shop\.orders"\?'):
        StreamRegistry([Stream("shop.orders")]).get("shop.ordres")
    with pytest.raises(StreamUnknown, match="Declare it in a stream file"):
        StreamRegistry([Stream("shop.orders")]).get("x" * 100_000)


def test_what_producers_name_does_not_fill_the_memory() -> None:
    registry = StreamRegistry([Stream("/^jobs/")])
    for number in range(10_000):
        assert registry.get(f"jobs{number}").name == f"jobs{number}"
    assert len(registry._known) < 5_000


def test_listings_hold_streams_and_families_apart_in_order_of_declaration() -> None:
    registry = StreamRegistry([Stream("b"), Stream("/x/"), Stream("a")])
    assert (registry.names(), len(registry)) == (("b", "a"), 2)
    assert [stream.name for stream in registry.all()] == ["b", "a"]
    assert [stream.name for stream in registry.families()] == ["/x/"]
    assert ("a" in registry, "xx" in registry, "q" in registry) == (True, True, False)


def test_two_streams_of_one_name_are_an_error_that_names_both_places() -> None:
    with pytest.raises(ConfigInvalid, match=r'two\.yaml:2: the stream "a" is already declared in one\.yaml:1\.'):
        StreamRegistry([Stream("a", file="one.yaml", line=1), Stream("a", file="two.yaml", line=2)])


@pytest.mark.parametrize(
    ("stream", "prefix", "expected"),
    [
        (Stream("a"), "", "a"),
        (Stream("a"), "eqiad.", "a"),
        (Stream("a", topic_prefixes=DATACENTERS), "codfw.", "codfw.a"),
        (Stream("a", topic_prefixes=DATACENTERS), "", "eqiad.a"),
        (Stream("a", topic_prefixes=DATACENTERS, topics=("one_topic",)), "codfw.", "one_topic"),
        (Stream("a.v2", topic_prefixes=DATACENTERS, topics=("eqiad.a", "codfw.a")), "codfw.", "codfw.a"),
    ],
)
def test_the_intake_writes_to_a_topic_that_is_the_streams_own(stream: Stream, prefix: str, expected: str) -> None:
    assert stream.topic_for(prefix) == expected
    assert expected in stream.topics


def test_a_datacenter_the_stream_does_not_have_is_refused() -> None:
    with pytest.raises(ConfigInvalid, match="no topic with the prefix"):
        Stream("a", topic_prefixes=("eqiad.",)).topic_for("codfw.")
