"""Who may see a stream: what is private by itself, what follows from topics and jobs, and what settings open."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import ConfigInvalid, StreamUnknown
from headwater.streams.files import read_layers
from headwater.streams.layers import Scope
from headwater.streams.registry import StreamRegistry
from headwater.streams.seen import SeenStreams
from headwater.streams.stream import PRIVACY_CLASSES, Stream
from headwater.streams.visibility import Access, Exposure, Flow, Sight

HIDDEN, NAMED, OPEN = Exposure.HIDDEN, Exposure.NAMED, Exposure.OPEN


def exposures(streams: list[Stream], access: Access | None = None) -> dict[str, Exposure]:
    registry = StreamRegistry(streams, access=access or Access())
    return {stream.name: registry.visibility.exposure(stream) for stream in streams}


@pytest.mark.parametrize(
    ("name", "privacy_class", "expected"),
    [
        ("a", "public", OPEN),
        ("a", "internal", OPEN),
        ("a", "unspecified", OPEN),
        ("a", "private", HIDDEN),
        ("a", "restricted", HIDDEN),
        ("a", "confidential", HIDDEN),
        ("a.private.v1", "unspecified", HIDDEN),
        ("a.private.v1", "public", HIDDEN),
        ("a.Private.v1", "unspecified", HIDDEN),
        ("private", "unspecified", HIDDEN),
        ("privateer.v1", "unspecified", OPEN),
        ("/^a\\.private\\..+/", "unspecified", HIDDEN),
        ("/^(private|secret)\\.a/", "unspecified", HIDDEN),
    ],
)
def test_a_stream_is_private_by_its_class_or_its_name(name: str, privacy_class: str, expected: Exposure) -> None:
    assert exposures([Stream(name, privacy_class=privacy_class)]) == {name: expected}


def test_members_are_as_private_as_their_family_or_their_own_name() -> None:
    families = [Stream("/^ward\\..+/", privacy_class="private"), Stream("/^shop\\..+/")]
    registry = StreamRegistry(families, access=Access())
    found = {name: registry.visibility.exposure(registry.get(name)) for name in ("ward.7", "shop.7", "shop.private.v1")}
    assert found == {"ward.7": HIDDEN, "shop.7": OPEN, "shop.private.v1": HIDDEN}


def test_a_topic_shared_with_a_private_stream_is_private_whoever_is_listed() -> None:
    streams = [Stream("a", topics=("t",)), Stream("b", topics=("t", "u"), privacy_class="private"), Stream("u")]
    assert exposures(streams) == {"a": HIDDEN, "b": HIDDEN, "u": HIDDEN}
    assert exposures(streams, Access(opened=frozenset({"a"})))["a"] is HIDDEN
    assert exposures(streams, Access(opened=frozenset({"b"}))) == {"a": OPEN, "b": OPEN, "u": OPEN}


def test_what_jobs_write_is_as_private_as_what_they_read_unless_its_file_says_otherwise() -> None:
    flows = (
        Flow("first", ("secret",), output="digest", late="late", error="first.error"),
        # Written before it is known that what it reads is private.
        Flow("second", ("digest",), output="totals", error="second.error"),
        Flow("open", ("shop",), output="counts", error="open.error"),
        Flow("both", ("shop", "secret"), output="report", error="both.error"),
    )
    names = ("totals", "digest", "late", "counts", "shop", "first.error", "second.error", "open.error", "both.error")
    streams = [
        *map(Stream, names),
        Stream("secret", privacy_class="restricted"),
        Stream("report", privacy_class="public"),
    ]
    found = exposures(streams, Access(flows=flows))
    assert {name for name, exposure in found.items() if exposure is OPEN} == {"counts", "shop", "report"}
    assert {name for name, exposure in found.items() if exposure is NAMED} == {"open.error"}


def test_late_events_are_copied_whole_so_that_no_class_makes_them_public() -> None:
    flows = (Flow("a", ("secret",), late="late"),)
    streams = [Stream("secret", privacy_class="private"), Stream("late", privacy_class="public")]
    assert exposures(streams, Access(flows=flows))["late"] is HIDDEN


@pytest.mark.parametrize(("privacy_class", "expected"), [("unspecified", NAMED), ("public", OPEN), ("private", HIDDEN)])
def test_an_error_stream_is_public_only_where_its_file_says_so(privacy_class: str, expected: Exposure) -> None:
    streams = [
        Stream("intake.error", privacy_class=privacy_class),
        Stream("theirs", schema_title="error", privacy_class=privacy_class),
    ]
    found = exposures(streams, Access(error_streams=frozenset({"intake.error"})))
    assert set(found.values()) == {expected}


def test_events_are_copied_into_a_public_error_stream_only_where_all_may_read_them() -> None:
    streams = [
        Stream("shop"),
        Stream("secret", privacy_class="private"),
        Stream("public.error", schema_title="error", privacy_class="public"),
        Stream("own.error", schema_title="error"),
    ]
    registry = StreamRegistry(streams, access=Access())
    public, own = registry.get("public.error"), registry.get("own.error")
    may_copy = registry.visibility.may_copy
    assert may_copy(["shop"], public)
    assert not may_copy(["secret"], public)
    assert not may_copy(["shop", "secret"], public)
    assert not may_copy([None], public), "it might have been meant for the private one"
    assert not may_copy(["secrt"], public)
    assert may_copy(["secret"], own)
    open_only = StreamRegistry([streams[0], streams[2]], access=Access())
    assert open_only.visibility.may_copy([None], public)


def test_a_reader_finds_what_its_sight_shows_and_hints_name_no_other() -> None:
    streams = [
        Stream("secret.plan", privacy_class="private"),
        Stream("shop"),
        Stream("job.error", schema_title="error"),
    ]
    registry = StreamRegistry(streams, access=Access())
    public, declared = SeenStreams(registry, Sight.PUBLIC), SeenStreams(registry, Sight.DECLARED)
    assert [stream.name for stream in public.all()] == ["shop", "job.error"]
    assert [stream.name for stream in declared.all()] == ["secret.plan", "shop", "job.error"]
    assert not declared.reads(registry.get("secret.plan"))
    assert not public.reads(registry.get("job.error"))
    assert SeenStreams(registry, Sight.EVENTS).reads(registry.get("secret.plan"))
    for name in ("secret.plan", "secret.plans"):
        with pytest.raises(StreamUnknown, match=re.escape(f'The stream "{name}" is not declared.')) as caught:
            public.get(name)
        assert str(caught.value.hint).startswith("Declare it in a stream file")
    with pytest.raises(StreamUnknown) as caught:
        StreamRegistry(streams).get("secret.plans")
    assert caught.value.hint == 'Did you mean "secret.plan"?', "who has the files is told"


def test_schemas_of_private_streams_only_are_hidden_with_them() -> None:
    streams = [
        Stream("a", schema_title="both"),
        Stream("b", schema_title="both", privacy_class="private"),
        Stream("c", schema_title="own", privacy_class="private"),
        Stream("/^d/", schema_title="family", privacy_class="private"),
    ]
    registry = StreamRegistry(streams, access=Access())
    assert SeenStreams(registry, Sight.PUBLIC).titles_hidden() == {"own", "family"}
    assert SeenStreams(registry, Sight.DECLARED).titles_hidden() == frozenset()


def test_what_is_private_here_is_hidden_in_every_site(tmp_path: Path) -> None:
    head = "stream: a\nschema_title: a\nprivacy: {class: private}\n"
    text = f"{head}overrides:\n- {{when: {{site: x}}, set: {{privacy: {{class: public}}}}}}\n"
    (tmp_path / "a.yaml").write_text(text, encoding="utf-8")
    registry = StreamRegistry(layers=read_layers(tmp_path), access=Access())
    there = registry.seen_from(Scope(site="x"))
    assert there.get("a").privacy_class == "public"
    assert not there.visibility.names(there.get("a"), Sight.PUBLIC)


def test_access_stays_with_revisions_and_additions() -> None:
    registry = StreamRegistry([Stream("a")], access=Access(opened=frozenset({"b"})))
    assert registry.extended([Stream("b", privacy_class="private")]).access == registry.access
    assert registry.revised([]).access == registry.access


@pytest.mark.parametrize(
    ("written", "near"),
    [("privat", "private"), ("Private", "private"), ("pubic", "public"), ("restrcted", "restricted"), ("xyz", None)],
)
def test_a_privacy_class_that_is_none_is_refused_with_the_nearest(tmp_path: Path, written: str, near: str) -> None:
    (tmp_path / "a.yaml").write_text(f"stream: a\nprivacy: {{class: {written}}}\n", encoding="utf-8")
    with pytest.raises(ConfigInvalid, match=r'a\.yaml:2: privacy\.class must be "public", "internal"') as caught:
        read_layers(tmp_path)
    assert caught.value.hint == (f'Did you mean "{near}"?' if near else None)


def test_every_privacy_class_there_is_is_taken(tmp_path: Path) -> None:
    for privacy_class in PRIVACY_CLASSES:
        (tmp_path / "a.yaml").write_text(
            f"stream: a\nschema_title: a\nprivacy: {{class: {privacy_class}}}\n", encoding="utf-8"
        )
        assert StreamRegistry.load(tmp_path).get("a").privacy_class == privacy_class


NAMES = st.sampled_from(["a", "b", "c", "d", "e"])
FLOWS = st.lists(
    st.builds(
        Flow,
        job=st.just("j"),
        sources=st.lists(NAMES, min_size=1, max_size=2).map(tuple),
        output=st.none() | NAMES,
        late=st.none() | NAMES,
    ),
    max_size=6,
)


@given(st.dictionaries(NAMES, st.sampled_from(PRIVACY_CLASSES), min_size=5), FLOWS)
def test_nothing_follows_from_a_private_stream_into_one_that_nobody_called_public(
    classes: dict[str, str], flows: list[Flow]
) -> None:
    streams = [Stream(name, privacy_class=privacy_class) for name, privacy_class in classes.items()]
    found = exposures(streams, Access(flows=tuple(flows)))
    for stream in streams:
        if stream.is_private:
            assert found[stream.name] is HIDDEN
    for flow in flows:
        if any(found[source] is HIDDEN for source in flow.sources):
            if flow.output is not None and classes[flow.output] == "unspecified":
                assert found[flow.output] is HIDDEN
            assert flow.late is None or found[flow.late] is HIDDEN
