"""The state of a key: its types, versions, time to live and limits."""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import JobInvalid
from headwater.event import decode_kept, encode_kept
from headwater.jobs import Context, Job, job
from headwater.jobs.scope import STATE_BYTES_MAX, STATE_BYTES_WARNED
from headwater.jobs.state_type import state_type
from headwater.testing.job_kit import JobKit


class Kind(enum.Enum):
    BOT = "bot"
    PERSON = "person"


@dataclass(frozen=True)
class Editor:
    name: str = ""
    kind: Kind = Kind.PERSON


@dataclass
class Page:
    """A field of every type that a state may have."""

    rev: int = 0
    size: float = 0.5
    exists: bool = True
    title: str | None = None
    how: Literal["edit", "create"] = "edit"
    anything: Any = None
    last: Editor | None = None
    first: Optional[Editor] = None  # noqa: UP045 - the older spelling is one, too
    editors: list[Editor] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    kinds: frozenset[Kind] = frozenset()
    by_day: dict[str, list[Editor]] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    pair: tuple[int, Editor] = (0, Editor())
    many: tuple[Kind, ...] = ()
    items: Sequence[date] = field(default_factory=list)
    at: datetime | None = None
    took: timedelta = timedelta()
    parents: list[Page] = field(default_factory=list)


TIMES = st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(2200, 1, 1), timezones=st.just(UTC))
EDITORS = st.builds(Editor, st.text(), st.sampled_from(Kind))
NUMBERS = st.integers(-(2**53), 2**53)
PAGES = st.builds(
    Page,
    rev=NUMBERS,
    size=st.floats(allow_nan=False, allow_infinity=False),
    exists=st.booleans(),
    title=st.none() | st.text(),
    anything=st.none() | st.lists(NUMBERS) | st.dictionaries(st.text(), st.booleans()),
    last=st.none() | EDITORS,
    editors=st.lists(EDITORS, max_size=3),
    seen=st.sets(st.text()),
    kinds=st.frozensets(st.sampled_from(Kind)),
    by_day=st.dictionaries(st.text(), st.lists(EDITORS, max_size=2), max_size=2),
    pair=st.tuples(NUMBERS, EDITORS),
    many=st.lists(st.sampled_from(Kind)).map(tuple),
    items=st.lists(st.dates()),
    at=st.none() | TIMES,
    took=st.timedeltas(timedelta(days=-1000), timedelta(days=1000)),
    parents=st.lists(st.builds(Page, rev=NUMBERS), max_size=2),
)


@given(PAGES)
def test_a_state_is_read_back_as_it_was_stored(page: Page) -> None:
    form = state_type(Page)
    assert form.decode(decode_kept(encode_kept(form.encode(page)))) == page


@given(st.sets(st.text()))
def test_equal_sets_are_stored_equally(words: set[str]) -> None:
    form = state_type(Page)
    assert form.encode(Page(seen=words)) == form.encode(Page(seen={*reversed(list(words))}))


@dataclass
class OfTwo:
    who: Editor | Kind | None = None


@dataclass
class OfNumbers:
    by_number: dict[int, str] = field(default_factory=dict)


@dataclass
class Deep:
    pages: list[dict[str, tuple[bytes, ...]]] = field(default_factory=list)


@dataclass
class Function:
    call: Callable[[], None] | None = None


@dataclass
class Hidden:
    name: str = field(init=False, default="x")


@pytest.mark.parametrize(
    ("kind", "complaint"),
    [
        (OfTwo, "OfTwo.who cannot be state: of Editor | Kind | NoneType, what is stored would not show which it is"),
        (OfNumbers, "OfNumbers.by_number cannot be state: its keys are int"),
        (Deep, r"Deep.pages\[…\]\[…\]\[…\] cannot be state: JSON has no form for bytes"),
        (Function, "Function.call cannot be state"),
        (Hidden, "Hidden.name cannot be state: with init=False"),
        (lambda: Page(rev=3), None),
        (lambda: {"a": [1, 2.5, None, True, "x"]}, None),
        (int, None),
        (set, "the state that set begins with"),
        (lambda: {1: 2}, "is not made of what JSON has"),
        (lambda: float("inf"), "is not made of what JSON has"),
        (bytes, "the state that bytes begins with"),
    ],
)
def test_a_type_that_cannot_be_state_is_named(kind: Callable[[], Any], complaint: str | None) -> None:
    if complaint is None:
        state_type(kind)
        return
    with pytest.raises(JobInvalid, match=complaint.replace("|", r"\|").replace("(", r"\(")):
        state_type(kind)


def event(seconds: float, **fields: Any) -> dict[str, Any]:
    time = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    return {"$schema": "/in/1.0.0", "meta": {"dt": time.isoformat()}, "k": "a", **fields}


async def values(kit: JobKit) -> list[Any]:
    assert [error["message"] for error in await kit.errors()] == []
    return [made["value"] for made in await kit.events()]


async def opened(made: Job, log: Any = None) -> JobKit:
    kit = JobKit(made, log=log)
    if log is None:
        await kit.open()
    return kit


def made(value: Any) -> dict[str, Any]:
    return {"$schema": "/out/1.0.0", "value": value}


def counting(**arguments: Any) -> Job:
    """A job that counts the events of each key."""

    @job(source="in", sink="out", key="k", state=int, **arguments)
    def counts(event: dict[str, Any], context: Context) -> Any:
        context.state += 1
        return made(context.state)

    return counts


async def test_an_older_state_is_converted_when_it_is_read_and_stored_in_the_new_version() -> None:
    first = await opened(counting())
    await first.put(event(0), event(1))
    await first.run()
    asked: list[tuple[Any, int]] = []

    def migrate(old: Any, version: int) -> Any:
        asked.append((old, version))
        return {"number": old, "since": [version]}

    @job(source="in", sink="out", key="k", state=dict, state_version=3, migrate=migrate, name="counts")
    def counts(event: dict[str, Any], context: Context) -> Any:
        context.state["number"] = context.state.get("number", 0) + 1
        return made(context.state)

    second = await opened(counts, first.log)
    await second.put(event(2), event(3), event(4, k="b"))
    await second.run()
    assert await values(second) == [
        1,
        2,
        {"number": 3, "since": [1]},
        {"number": 4, "since": [1]},
        {"number": 1},
    ]
    assert asked == [(2, 1)]


async def test_migrate_may_give_a_state_of_the_declared_type_or_none() -> None:
    first = await opened(counting())
    await first.put(event(0), event(1), event(1, k="b"))
    await first.run()

    @job(
        source="in",
        sink="out",
        key="k",
        state=Page,
        state_version=2,
        migrate=lambda old, version: Page(rev=old * 10) if old > 1 else None,
        name="counts",
    )
    def counts(event: dict[str, Any], context: Context) -> Any:
        context.state.rev += 1
        return made(context.state.rev)

    second = await opened(counts, first.log)
    await second.put(event(2), event(3), event(4, k="b"))
    await second.run()
    assert (await values(second))[3:] == [21, 22, 1]


async def test_a_state_of_a_newer_version_and_a_failing_migrate_are_error_events_and_keep_the_state() -> None:
    kit = await opened(counting())
    await kit.put(event(0))
    await kit.run()
    failing = counting(state_version=2, migrate=lambda old, version: old["no"])
    second = await opened(failing, kit.log)
    await second.put(event(1))
    await second.run()
    (error,) = await second.errors()
    assert "TypeError" in error["stack"]
    third = await opened(counting(state_version=2, migrate=lambda old, version: old + 10), kit.log)
    await third.put(event(2))
    await third.run()
    assert [one["value"] for one in await third.events()] == [1, 12]
    fourth = await opened(counting(), kit.log)
    await fourth.put(event(3))
    await fourth.run()
    assert "The stored state is of version 2, and the job's is 1" in (await fourth.errors())[-1]["message"]


async def test_a_changed_dataclass_reads_what_it_can_and_names_what_it_cannot() -> None:
    @dataclass
    class Before:
        rev: int = 0
        gone: int = 1

    @dataclass
    class After:
        rev: int = 0
        new: int = 5

    @dataclass
    class Larger:
        rev: int = 0
        gone: int = 1
        new: int = 5

    def keeping(kind: Any) -> Job:
        @job(source="in", sink="out", key="k", state=kind, name="keeps")
        def keeps(event: dict[str, Any], context: Context) -> Any:
            context.state.rev += 1
            return made([context.state.rev, getattr(context.state, "new", None)])

        return keeps

    # The types of local classes are found because annotations are resolved where the class is made.
    for kind in (Before, After, Larger):
        kind.__annotations__ = dict.fromkeys(kind.__annotations__, int)
    first = await opened(keeping(Before))
    await first.put(event(0))
    await first.run()
    second = await opened(keeping(Larger), first.log)
    await second.put(event(1))
    await second.run()
    assert await values(second) == [[1, None], [2, 5]]
    third = await opened(keeping(After), first.log)
    await third.put(event(2))
    await third.run()
    (error,) = await third.errors()
    assert "does not fit After: it has the field gone. Give the job state_version= and migrate=" in error["message"]


async def test_a_function_may_make_the_first_value_of_a_dataclass() -> None:
    @job(source="in", sink="out", key="k", state=lambda: Page(rev=10))
    def counts(event: dict[str, Any], context: Context) -> Any:
        context.state.rev += 1
        return made(context.state.rev)

    kit = await opened(counts)
    await kit.put(event(0), event(1))
    await kit.run()
    assert await values(kit) == [11, 12]


async def test_a_state_is_forgotten_after_its_time_to_live_and_never_before() -> None:
    kit = await opened(counting(state_ttl="60s"))
    # Each event of the key extends the time.
    await kit.put(event(0), event(59), event(118), event(178), event(237.999), event(298))
    await kit.run()
    assert await values(kit) == [1, 2, 3, 1, 2, 1]


async def test_the_time_to_live_does_not_depend_on_when_events_are_processed() -> None:
    times = [0, 59, 118, 178, 237.999, 298]
    apart = await opened(counting(state_ttl="60s"))
    for seconds in times:
        await apart.put(event(seconds))
        await apart.run_live(pause_seconds=0.01)
    assert await values(apart) == [1, 2, 3, 1, 2, 1]


async def test_an_expired_state_is_deleted_from_the_store_by_the_watermark_alone() -> None:
    kit = await opened(counting(state_ttl="60s", idle="1s"))
    cells = "job/counts/function/cells"
    await kit.put(event(0), event(30))
    await kit.run_live()
    # The wall clock alone forgets nothing: a late event could still need it.
    kit.clock.advance(3600)
    await kit.run_live()
    assert len(await kit.log.state_scan(cells, after=b"", rows_max=10)) == 1
    await kit.put(event(61, k="b"))
    await kit.run_live()
    assert len(await kit.log.state_scan(cells, after=b"", rows_max=10)) == 2
    await kit.put(event(91, k="b"))
    await kit.run_live()
    assert len(await kit.log.state_scan(cells, after=b"", rows_max=10)) == 1


async def test_timers_of_the_function_and_the_time_to_live_do_not_disturb_each_other() -> None:
    @job(source="in", sink="out", key="k", state=int, state_ttl="60s")
    def counts(event: dict[str, Any], context: Context) -> Any:
        assert set(context.timers) <= {"over"}
        context.state += 1
        context.timer("over", after="90s")

    @counts.on_timer("over")
    def over(context: Context) -> Any:
        return made(context.state)

    kit = await opened(counts)
    await kit.put(event(0), event(10), event(200, k="b"))
    await kit.run()
    # The state is over when the timer comes; the timer is not.
    assert await values(kit) == [0, 0]


async def test_a_time_to_live_may_be_added_and_taken_away() -> None:
    kit = await opened(counting())
    await kit.put(event(0))
    await kit.run()
    second = await opened(counting(state_ttl="60s"), kit.log)
    await second.put(event(1000), event(1001))
    await second.run()
    third = await opened(counting(), kit.log)
    await third.put(event(9000))
    await third.run()
    assert await values(third) == [1, 2, 3, 4]


async def test_a_large_state_is_warned_of_once_and_one_that_is_too_large_is_an_error_event(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @job(source="in", sink="out", key="k", state=str, name="hoards")
    def hoards(event: dict[str, Any], context: Context) -> Any:
        context.state = "x" * event["size"]
        return made(len(context.state))

    kit = await opened(hoards)
    with caplog.at_level(logging.WARNING):
        sizes = [STATE_BYTES_WARNED - 100, STATE_BYTES_WARNED + 1, STATE_BYTES_WARNED + 1, STATE_BYTES_MAX - 100]
        await kit.put(*(event(index, size=size) for index, size in enumerate(sizes)))
        await kit.put(event(5, size=STATE_BYTES_MAX + 1))
        await kit.run()
    assert [one["value"] for one in await kit.events()] == sizes
    (error,) = await kit.errors()
    assert "The state of the key 'a' of the job hoards would have 16,000,0" in error["message"]
    warned = [record.getMessage() for record in caplog.records if "has 1,000," in record.getMessage()]
    assert len(warned) == 1
    assert "the state of the key 'a'" in warned[0]
