"""Revisions of streams: what counts, what is refused, what windows do, who may change what."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from headwater.access.api_keys import ApiKeys
from headwater.control.idle_rules import idle_rules
from headwater.control.revision import Revision, Rule, State
from headwater.control.stream_control import TOPIC, Change, StreamControl
from headwater.errors import ChangeConflict, ChangeRefused, ConfigInvalid, KeyRequired, ScopeMissing, TooManyRequests
from headwater.log.contract import Record
from headwater.streams.layers import Entry, Scope, StreamLayers
from headwater.streams.registry import StreamRegistry
from headwater.streams.stream import Stream
from headwater.telemetry import Telemetry
from headwater.testing.oracle_log import OracleLog


class Clock:
    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def declared() -> StreamRegistry:
    return StreamRegistry([Stream("clicks", "click"), Stream("views", "view")])


def rule(rate: float = 0.5, *, name: str = "half", stream: str = "clicks", **more: Any) -> Rule:
    sample = {"unit": "session", "rate": rate}
    return Rule.from_json({"id": name, "stream": stream, "set": {"produce": {"sample": sample}}, **more})


async def started(log: OracleLog, clock: Clock) -> tuple[StreamControl, list[StreamRegistry]]:
    seen: list[StreamRegistry] = []
    control = StreamControl(log, declared(), Telemetry(), seen.append, clock)
    await control.start()
    return control, seen


def rate_of(control: StreamControl, name: str = "clicks") -> Any:
    sample = control.streams.get(name).sample
    return None if sample is None else sample["rate"]


async def test_a_change_is_in_effect_when_it_is_answered_and_after_a_restart() -> None:
    log = OracleLog()
    await log.open()
    control, seen = await started(log, Clock())
    revision = await control.change(Change("ada", "too many", put=(rule(),)))
    assert (revision.number, revision.parent, revision.actor) == (1, 0, "ada")
    assert rate_of(control) == 0.5
    assert seen[-1] is control.streams
    await control.stop()
    again, _ = await started(log, Clock())
    assert rate_of(again) == 0.5
    assert again.history == [revision]
    await again.stop()


@pytest.mark.parametrize("deleted", [True, False], ids=["deleted", "made again"])
async def test_where_the_topic_of_changes_is_deleted_or_made_again_what_it_has_then_counts(deleted: bool) -> None:
    log = OracleLog()
    await log.open()
    control, _ = await started(log, Clock())
    await control.change(Change("ada", "too many", put=(rule(),)))
    if deleted:
        log.delete_topic(TOPIC)
    else:
        log.replace_partition(TOPIC, 0)
    assert await control._read(0.0)
    assert (rate_of(control), control.history) == (None, [])
    revision = await control.change(Change("ada", "again", put=(rule(0.25),)))
    assert (revision.number, rate_of(control)) == (1, 0.25)
    await control.stop()


async def test_of_two_changes_on_one_state_the_first_counts_for_everybody() -> None:
    log = OracleLog()
    await log.open()
    one, _ = await started(log, Clock())
    other, _ = await started(log, Clock())
    late = Revision(1, 0, 0.0, "late", "x", put=(rule(0.9),))
    await one.change(Change("first", "x", put=(rule(0.1),)))
    await log.append([Record(TOPIC, late.encode(), partition=0), Record(TOPIC, b"no revision", partition=0)])
    with pytest.raises(ChangeConflict, match="at revision 1, not 0"):
        one.check(Change("second", "x", put=(rule(0.2),), expected=0))
    assert await other.wait(other.version, 5) > 1
    assert rate_of(one) == rate_of(other) == 0.1
    await one.change(Change("second", "x", put=(rule(0.2),), expected=1))
    assert rate_of(one) == 0.2
    await one.stop()
    await other.stop()


async def test_a_window_begins_and_ends_by_itself() -> None:
    log, clock = OracleLog(), Clock()
    await log.open()
    control, _ = await started(log, clock)
    when = {"from": _iso(clock.now + 0.2), "until": _iso(clock.now + 0.4)}
    await control.change(Change("ada", "a trial", put=(rule(0.01, when=when),)))
    assert rate_of(control) is None
    for later, expected in ((0.25, 0.01), (0.45, None)):
        version = control.version
        clock.now = 1_700_000_000.0 + later
        assert await control.wait(version, 5) == version + 1
        assert rate_of(control) == expected
    await control.stop()


async def test_going_back_is_another_revision_and_the_kill_switch_beats_every_rule() -> None:
    log = OracleLog()
    await log.open()
    control, _ = await started(log, Clock())
    await control.change(Change("ada", "x", put=(rule(0.5),)))
    await control.change(Change("ada", "x", put=(rule(0.1), rule(0.2, name="views", stream="views"))))
    await control.change(control.rollback(1, "bob", "too few"))
    assert (rate_of(control), rate_of(control, "views")) == (0.5, None)
    assert [revision.kind for revision in control.history] == ["change", "change", "rollback"]
    await control.change(control.kill("*", "bob", "it burns"))
    assert not control.streams.get("clicks").enabled
    assert not control.streams.get("views").enabled
    await control.change(control.kill("*", "bob", "it does not", on=False))
    assert control.streams.get("clicks").enabled
    with pytest.raises(ChangeRefused, match="no revision 9"):
        control.rollback(9, "bob", "x")
    await control.stop()


async def test_a_dry_run_says_what_would_change_and_changes_nothing() -> None:
    log = OracleLog()
    await log.open()
    control, _ = await started(log, Clock())
    _, after = control.check(Change("ada", "x", put=(rule(0.5, stream="*"),)))
    found = {(one.stream, one.path, one.before, one.after) for one in control.differences(after)}
    assert found == {
        (name, path, None, value)
        for name in ("clicks", "views")
        for path, value in (("produce.sample.unit", "session"), ("produce.sample.rate", 0.5))
    }
    assert control.state == State()
    assert rate_of(control) is None
    await control.stop()


HALF = {"produce": {"sample": {"unit": "session", "rate": 0.5}}}
GROUPED = StreamLayers.of_entries(
    [Entry.of_stream(Stream("clicks", "click"))], groups={"large": ("enwiki", "dewiki"), "small": ("lawiki",)}
)


@pytest.mark.parametrize(
    ("when", "site", "words"),
    [
        ({"from": "2033-01-01T00:00:00Z"}, None, ["no effect before 2033-01-01T00:00:00Z"]),
        ({"until": "2001-01-01T00:00:00Z"}, None, ["no effect since 2001-01-01T00:00:00Z"]),
        ({"from": "2001-01-01T00:00:00Z", "until": "2033-01-01T00:00:00Z"}, None, []),
        ({"site_group": "larg"}, None, ['no site group "larg". Did you mean "large"?']),
        ({"site_group": "nowhere"}, "enwiki", ['no site group "nowhere". Groups are declared in sites.yaml']),
        ({"site_group": "large"}, None, ["the view of no particular site"]),
        ({"site_group": ["large", "nowhere"]}, "lawiki", ['no site group "nowhere"', "the view of the site lawiki"]),
        ({"site_group": "large"}, "dewiki", []),
        ({"site": "frwiki"}, "dewiki", ["the view of the site dewiki"]),
        ({"percent": 100}, None, ["the view of no particular site"]),
        ({"percent": 0}, "dewiki", ["the view of the site dewiki"]),
        ({"percent": 100}, "dewiki", []),
        ({"realm": "beta"}, None, ["in the realm beta; this platform is in production"]),
        (
            {"site_group": "small", "from": "2033-01-01T00:00:00Z"},
            None,
            ["no effect before 2033-01-01", "the view of no particular site"],
        ),
    ],
)
def test_a_rule_without_effect_says_why(when: dict[str, Any], site: str | None, words: list[str]) -> None:
    made = Rule.from_json({"id": "half", "stream": "clicks", "set": HALF, "when": when})
    scope = Scope(site=site, at=1_700_000_000.0)
    reasons = idle_rules([made], {"clicks"}, GROUPED, scope).get("half", [])
    assert len(reasons) == len(words), reasons
    assert all(word in reason for word, reason in zip(words, reasons, strict=True)), reasons


async def test_a_rule_that_says_what_is_so_already_is_without_effect_too() -> None:
    log = OracleLog()
    await log.open()
    control, _ = await started(log, Clock())
    change = Change("ada", "x", put=(rule(),))
    _, after = control.check(change)
    assert control.idle(change, control.differences(after)) == {}
    await control.change(change)
    again = Change("ada", "x", put=(rule(name="again"),))
    _, after = control.check(again)
    assert "are set already" in control.idle(again, control.differences(after))["again"][0]
    await control.stop()


async def test_a_rule_that_does_not_fit_any_more_is_left_out_alone() -> None:
    log = OracleLog()
    await log.open()
    control, _ = await started(log, Clock())
    await control.change(Change("ada", "x", put=(rule(0.5), rule(0.2, name="views", stream="views"))))
    await control.stop()
    fewer = StreamControl(log, StreamRegistry([Stream("views", "view")]), Telemetry(), lambda _: None, Clock())
    await fewer.start()
    assert rate_of(fewer, "views") == 0.2
    await fewer.stop()


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ({"set": {"schema_title": "other"}}, "cannot be changed at run time"),
        ({"set": {"transport": {"topics": ["x"]}}}, "cannot be changed at run time"),
        ({"set": {"produce": {"smaple": {"rate": 1}}}}, "cannot be changed at"),
        ({"set": {"docs": {"sumary": "x"}}}, 'unknown key "sumary"'),
        ({"set": {"produce": {"sample": {"rate": 2}}}}, "produce.sample.rate"),
        ({"set": {}, "unset": ["schema_title"]}, "cannot be changed at"),
        ({"set": {}}, "has no effect"),
        ({"stream": "clicsk", "set": {"produce": {"enabled": False}}}, "not declared"),
        ({"set": {"produce": {"enabled": "no"}}}, "produce.enabled must be"),
    ],
)
async def test_what_must_not_be_changed_is_refused_with_a_reason(written: dict[str, Any], sentence: str) -> None:
    log = OracleLog()
    await log.open()
    control, _ = await started(log, Clock())
    with pytest.raises(ChangeRefused, match=sentence):
        control.check(Change("ada", "x", put=(Rule.from_json({"id": "r", "stream": "clicks", **written}),)))
    await control.stop()


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ([], "JSON object"),
        ({"id": "", "stream": "s"}, "`id` must be a text"),
        ({"id": "r", "stream": "s", "sett": {}}, "no key 'sett'"),
        ({"id": "r", "stream": "s", "when": {"day": "x"}}, "no key 'day'"),
        ({"id": "r", "stream": "s", "when": {"from": "tomorrow"}}, "is not a time"),
        ({"id": "r", "stream": "s", "when": {"from": "2026-01-31T12:00:00"}}, "no time zone"),
        (
            {"id": "r", "stream": "s", "when": {"from": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}},
            "later than",
        ),
        ({"id": "r", "stream": "s", "priority": "high"}, "whole number"),
    ],
)
def test_what_is_no_rule_is_refused_with_a_reason(written: Any, sentence: str) -> None:
    with pytest.raises(ChangeRefused, match=sentence):
        Rule.from_json(written)


def test_a_revision_reads_back_what_it_wrote() -> None:
    revision = Revision(3, 2, 1_700_000_000.5, "ada", "why", "change", (rule(0.25, priority=3),), ("other",))
    assert Revision.decode(revision.encode()) == revision


def test_keys_are_kept_as_hashes_and_good_for_their_scopes_until_they_expire(tmp_path: Path) -> None:
    clock = Clock()
    keys = ApiKeys(tmp_path / "keys.json", 1000, clock)
    given = keys.create("ada", ["streams:read"], datetime.fromtimestamp(clock.now + 100, UTC))
    assert given not in (tmp_path / "keys.json").read_text()
    assert (tmp_path / "keys.json").stat().st_mode & 0o777 == 0o600
    assert keys.check(f"Bearer {given}", "streams:read") == "ada"
    with pytest.raises(ScopeMissing, match="good for streams:read, not for streams:write"):
        keys.check(f"Bearer {given}", "streams:write")
    for wrong in (None, "", "Basic x", "Bearer ", "Bearer hwk_guess"):
        with pytest.raises(KeyRequired):
            keys.check(wrong, "streams:read")
    clock.now += 101
    with pytest.raises(KeyRequired, match="expired"):
        keys.check(f"Bearer {given}", "streams:read")
    keys.revoke("ada")
    with pytest.raises(KeyRequired, match="not known"):
        keys.check(f"Bearer {given}", "streams:read")
    with pytest.raises(ConfigInvalid, match="no key named"):
        keys.revoke("ada")
    with pytest.raises(ConfigInvalid, match="is no scope"):
        keys.create("bob", ["streams:wirte"])


def test_a_key_has_an_allowance_that_grows_back(tmp_path: Path) -> None:
    clock = Clock()
    keys = ApiKeys(tmp_path / "keys.json", 6, clock)
    header = f"Bearer {keys.create('ada', ['streams:write'])}"
    for _ in range(6):
        keys.check(header, "streams:write")
    with pytest.raises(TooManyRequests) as refused:
        keys.check(header, "streams:write")
    clock.now += refused.value.retry_after_seconds
    assert keys.check(header, "streams:write") == "ada"


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
