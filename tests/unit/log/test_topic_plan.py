"""Declared topics compared with those of the log: what is created, altered, refused, and only reported."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.log.contract import Features, TopicInfo, TopicSettings
from headwater.log.topic_plan import DeclaredTopic, Difference, plan_topics

SQLITE = Features(transactional_commit=True, keyed_state=True, seek_by_time=True, compaction=True)
KAFKA = dataclasses.replace(SQLITE, keyed_state=False, topic_compression=True)


def wanted(topic: str = "a", stream: str = "a", *, keyed: bool = False, **settings: Any) -> DeclaredTopic:
    return DeclaredTopic(topic, stream, TopicSettings(**settings), f"streams/{stream}.yaml:1", keyed)


def there(topic: str = "a", **settings: Any) -> TopicInfo:
    kept = TopicSettings(**settings)
    return TopicInfo(topic, kept, (0,) * kept.partitions, (5,) * kept.partitions, 100)


def test_a_missing_topic_is_created_with_all_its_settings() -> None:
    plan = plan_topics([wanted("dc1.a", partitions=3, compact=True), wanted("dc2.a")], [], SQLITE)
    assert [(change.topic, change.creates, change.settings) for change in plan.changes] == [
        ("dc1.a", True, TopicSettings(partitions=3, compact=True)),
        ("dc2.a", True, TopicSettings()),
    ]
    assert not plan.is_fulfilled


@pytest.mark.parametrize(
    ("setting", "before", "after"),
    [
        ("partitions", 1, 4),
        ("retention_seconds", None, 60.0),
        ("retention_seconds", 60.0, None),
        ("retention_seconds", 60.0, 3600.0),
        ("retention_bytes", 10, 20),
        ("compact", False, True),
        ("compact", True, False),
    ],
)
def test_each_setting_that_differs_is_altered_and_named(setting: str, before: Any, after: Any) -> None:
    plan = plan_topics([wanted(**{setting: after})], [there(**{setting: before})], SQLITE)
    (change,) = plan.changes
    assert (change.creates, change.differences) == (False, (Difference(setting, before, after),))
    assert getattr(change.settings, setting) == after


def test_compression_is_compared_only_where_the_log_keeps_it() -> None:
    declared, present = [wanted(compression="zstd")], [there()]
    assert plan_topics(declared, present, SQLITE).is_fulfilled
    (change,) = plan_topics(declared, present, KAFKA).changes
    assert change.differences == (Difference("compression", None, "zstd"),)


def test_fewer_partitions_than_there_are_cannot_be_had() -> None:
    plan = plan_topics([wanted(partitions=2, compact=True)], [there(partitions=3)], SQLITE)
    (one,) = plan.impossible
    assert plan.changes == ()
    assert 'has 3 partitions and the stream "a" declares 2 (streams/a.yaml:1)' in one.sentence
    assert "`partitions: 3`" in one.hint
    assert not plan.is_fulfilled


def test_an_undeclared_topic_is_listed_and_changes_nothing() -> None:
    plan = plan_topics([wanted()], [there(), there("left.over", partitions=2)], SQLITE)
    assert [info.name for info in plan.undeclared] == ["left.over"]
    assert (plan.is_fulfilled, plan.as_declared) == (True, 1)


def test_a_topic_of_a_family_is_kept_as_the_family_says() -> None:
    plan = plan_topics(
        [],
        [there("job.one"), there("job.two", retention_seconds=60.0)],
        SQLITE,
        family_of=lambda topic: wanted(topic, "/^job/", retention_seconds=60.0),
    )
    assert [change.topic for change in plan.changes] == ["job.one"]
    assert (plan.undeclared, plan.as_declared) == ((), 1)


def test_streams_that_share_a_topic_must_agree_about_it() -> None:
    agreeing = [wanted("t", "a", partitions=2), wanted("t", "b", partitions=2)]
    assert len(plan_topics(agreeing, [], SQLITE).changes) == 1
    plan = plan_topics([*agreeing, wanted("t", "c")], [there("t")], SQLITE)
    assert (plan.changes, plan.undeclared) == ((), ())
    assert '"a" and "c" share the topic t' in plan.impossible[0].sentence


def test_what_is_lost_or_moved_is_reported_beforehand() -> None:
    def notes(declared: DeclaredTopic, present: TopicInfo) -> tuple[str, ...]:
        return plan_topics([declared], [present], SQLITE).changes[0].notes

    assert "other partitions" in notes(wanted(partitions=2, keyed=True), there())[0]
    assert notes(wanted(partitions=2), there()) == ()
    assert "will be removed" in notes(wanted(retention_seconds=60.0), there())[0]
    assert "will be removed" in notes(wanted(compact=True), there())[0]
    assert notes(wanted(retention_seconds=120.0), there(retention_seconds=60.0)) == ()


SETTINGS = st.builds(
    TopicSettings,
    partitions=st.integers(1, 4),
    retention_seconds=st.sampled_from([None, 1.0, 60.0]),
    retention_bytes=st.sampled_from([None, 1000]),
    compact=st.booleans(),
    compression=st.sampled_from([None, "zstd"]),
)


@given(
    st.dictionaries(st.sampled_from("abcde"), SETTINGS),
    st.dictionaries(st.sampled_from("abcde"), SETTINGS),
    st.sampled_from([SQLITE, KAFKA]),
)
def test_doing_the_plan_fulfils_it_and_touches_nothing_else(
    declared: dict[str, TopicSettings], present: dict[str, TopicSettings], features: Features
) -> None:
    streams = [DeclaredTopic(name, name, settings) for name, settings in declared.items()]

    def infos(kept: dict[str, TopicSettings]) -> list[TopicInfo]:
        return [TopicInfo(name, settings, (0,), (0,), 0) for name, settings in kept.items()]

    plan = plan_topics(streams, infos(present), features)
    after = {**present, **{change.topic: change.settings for change in plan.changes}}
    again = plan_topics(streams, infos(after), features)
    assert again.changes == ()
    assert again.impossible == plan.impossible
    assert {info.name for info in plan.undeclared} == set(present) - set(declared)
    assert {change.topic for change in plan.changes} <= set(declared)
    assert all(after[name].partitions >= settings.partitions for name, settings in present.items())
