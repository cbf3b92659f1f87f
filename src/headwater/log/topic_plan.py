"""Compares the declared topics with those of the log: what to change, what is impossible, what is undeclared.

How this works: everything here compares two descriptions; nothing is read and nothing is changed. A topic that no
declaration names is reported and never changed. Settings that a log does not support are not compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from headwater.log.contract import Features, Refusal, TopicInfo, TopicSettings

SettingValue = int | float | bool | str | None


@dataclass(frozen=True, slots=True)
class DeclaredTopic:
    """A topic of a stream. `place` is where it is declared (`file:line`), None if it is in no file.

    `keyed`: its events have keys, whose order depends on the number of partitions.
    """

    topic: str
    stream: str
    settings: TopicSettings
    place: str | None = None
    keyed: bool = False


@dataclass(frozen=True, slots=True)
class Difference:
    """One setting in the log and in the declaration. Seconds, bytes per partition, and counts, as in settings."""

    setting: str
    before: SettingValue
    after: SettingValue


@dataclass(frozen=True, slots=True)
class TopicChange:
    """What to do with one topic: create it (`creates`), or apply `differences`. `settings` are those afterwards.

    `notes` are consequences that an operator should know before agreeing.
    """

    declared: DeclaredTopic
    creates: bool
    settings: TopicSettings
    differences: tuple[Difference, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def topic(self) -> str:
        return self.declared.topic


@dataclass(frozen=True, slots=True)
class Impossible:
    """A declaration that no log can fulfil, and what to do instead."""

    topic: str
    sentence: str
    hint: str


@dataclass(frozen=True, slots=True)
class TopicPlan:
    """All that is to be reported about the topics. `undeclared` topics stay unchanged."""

    changes: tuple[TopicChange, ...]
    impossible: tuple[Impossible, ...]
    undeclared: tuple[TopicInfo, ...]
    as_declared: int

    @property
    def is_fulfilled(self) -> bool:
        """Whether the log is as declared; undeclared topics do not count."""
        return not self.changes and not self.impossible


def plan_topics(
    declared: Iterable[DeclaredTopic],
    actual: Sequence[TopicInfo],
    features: Features,
    *,
    family_of: Callable[[str], DeclaredTopic | None] = lambda topic: None,
) -> TopicPlan:
    """Compare. `family_of` gives the declaration of a topic that belongs to a family of streams, by its name."""
    wanted, impossible = _by_topic(declared)
    clashing = {one.topic for one in impossible}
    present = {info.name: info for info in actual if info.name not in clashing}
    changes: list[TopicChange] = []
    undeclared: list[TopicInfo] = []
    as_declared = 0
    for topic in sorted({*wanted, *present}):
        info = present.get(topic)
        one = wanted.get(topic) or family_of(topic)
        if one is None:
            if info is not None:
                undeclared.append(info)
            continue
        if info is None:
            changes.append(TopicChange(one, creates=True, settings=one.settings))
            continue
        if one.settings.partitions < info.settings.partitions:
            impossible.append(_shrinking(one, info))
            continue
        differences = _differences(info.settings, one.settings, features)
        if differences:
            notes = tuple(_notes(one, differences))
            changes.append(TopicChange(one, creates=False, settings=one.settings, differences=differences, notes=notes))
        else:
            as_declared += 1
    return TopicPlan(tuple(changes), tuple(impossible), tuple(undeclared), as_declared)


def without_refused(plan: TopicPlan, refusals: Sequence[Refusal]) -> TopicPlan:
    """The plan with what the log would refuse: that is impossible, and no longer a change."""
    known = {one.topic for one in plan.impossible}
    places = {change.topic: _at(change.declared) for change in plan.changes}
    added = [
        Impossible(one.topic, f"{one.sentence.removesuffix('.')}{places.get(one.topic, '')}.", one.hint)
        for one in refusals
        if one.topic not in known
    ]
    refused = {one.topic for one in added}
    changes = tuple(change for change in plan.changes if change.topic not in refused)
    return replace(plan, changes=changes, impossible=(*plan.impossible, *added))


def _by_topic(declared: Iterable[DeclaredTopic]) -> tuple[dict[str, DeclaredTopic], list[Impossible]]:
    """One declaration for each topic; streams that share a topic must agree about it."""
    found: dict[str, DeclaredTopic] = {}
    clashes: dict[str, Impossible] = {}
    for one in declared:
        first = found.setdefault(one.topic, one)
        if first.settings != one.settings:
            clashes[one.topic] = Impossible(
                one.topic,
                f'The streams "{first.stream}" and "{one.stream}" share the topic {one.topic} and declare it'
                f" differently{_at(first)}{_at(one)}.",
                "Declare the same partitions, retention and compaction for both, or another topic for one of them.",
            )
        elif one.keyed and not first.keyed:
            found[one.topic] = replace(first, keyed=True)
    return {topic: one for topic, one in found.items() if topic not in clashes}, list(clashes.values())


def _shrinking(one: DeclaredTopic, info: TopicInfo) -> Impossible:
    has, wants = info.settings.partitions, one.settings.partitions
    return Impossible(
        one.topic,
        f'The topic {one.topic} has {has} partitions and the stream "{one.stream}" declares {wants}{_at(one)}:'
        " partitions cannot be removed, their events would be lost.",
        f"Declare `partitions: {has}`, or give the events a stream of another name and replay them into it.",
    )


def _differences(before: TopicSettings, after: TopicSettings, features: Features) -> tuple[Difference, ...]:
    pairs: list[tuple[str, SettingValue, SettingValue]] = [
        ("partitions", before.partitions, after.partitions),
        ("retention_seconds", _whole_ms(before.retention_seconds), _whole_ms(after.retention_seconds)),
        ("retention_bytes", before.retention_bytes, after.retention_bytes),
        ("compact", before.compact, after.compact),
    ]
    if features.topic_compression:
        pairs.append(("compression", before.compression, after.compression))
    return tuple(Difference(name, old, new) for name, old, new in pairs if old != new)


def _notes(one: DeclaredTopic, differences: Iterable[Difference]) -> Iterable[str]:
    for difference in differences:
        before, after = difference.before, difference.after
        if difference.setting == "partitions" and one.keyed:
            yield "Keys move to other partitions: events of one key from before and after are not in one order."
        if difference.setting == "compact" and after:
            yield "Events that a newer one of the same key replaces will be removed."
        if difference.setting.startswith("retention_") and _is_less(after, before):
            yield "Events that are then over the limit will be removed."


def _is_less(after: SettingValue, before: SettingValue) -> bool:
    """Whether a limit becomes tighter; None is no limit."""
    numbers = (int, float)
    return isinstance(after, numbers) and (not isinstance(before, numbers) or after < before)


def _whole_ms(seconds: float | None) -> float | None:
    # The finest that every log keeps.
    return None if seconds is None else round(seconds * 1000) / 1000


def _at(one: DeclaredTopic) -> str:
    return f" ({one.place})" if one.place else ""
