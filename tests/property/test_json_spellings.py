"""One JSON value in two spellings is one value for keys, windows, distinct counts, tables and partitions."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
from hypothesis import example, given
from hypothesis import strategies as st

from headwater.connectors.contract import Column, Delivery, TableShape
from headwater.connectors.rows import latest_rows
from headwater.connectors.sinks.sqlite import SqliteSink
from headwater.intake.gate import Gate, GateSettings
from headwater.intake.outcome import Admitted
from headwater.jobs import Context, Window, job, table, tumbling
from headwater.schemas.json_value import identity, json_equal, plain
from headwater.schemas.validation.validator import Validator
from headwater.streams.registry import StreamRegistry
from headwater.streams.stream import Stream
from headwater.testing.clock import ManualClock
from headwater.testing.job_kit import JobKit, OpenSchemas, without_envelope

AT = {"meta": {"dt": "2024-01-31T12:00:01Z"}}

whole_numbers = st.integers(-(2**63), 2**64 - 1)
numbers = whole_numbers | st.floats(allow_nan=False, allow_infinity=False)
texts_like_json = st.sampled_from(["1", "1.0", "true", "null", "[1]", '"'])
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=5) | texts_like_json,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@st.composite
def respelled(draw: st.DrawFn, value: Any) -> Any:
    """The same value: numbers as integer or fraction where both say it exactly, members in another order."""
    if isinstance(value, dict):
        names = draw(st.permutations(list(value)))
        return {name: draw(respelled(value[name])) for name in names}
    if isinstance(value, list):
        return [draw(respelled(item)) for item in value]
    if isinstance(value, int) and not isinstance(value, bool) and int(float(value)) == value and draw(st.booleans()):
        return float(value)
    if isinstance(value, float) and value.is_integer() and -(2**63) <= value < 2**64 and draw(st.booleans()):
        return int(value)
    return value


pairs = values.flatmap(lambda value: st.tuples(st.just(value), respelled(value)))


@given(pairs)
@example((2, 2.0))
@example((0, -0.0))
@example((2**60, float(2**60)))
@example((1e300, 1e300))
@example(({"a": 1, "b": [2.0]}, {"b": [2], "a": 1.0}))
def test_two_spellings_have_one_identity(pair: tuple[Any, Any]) -> None:
    one, other = pair
    assert identity(one) == identity(other)
    assert json_equal(plain(one), one)
    assert identity(orjson.loads(identity(one))) == identity(one)


@given(values, values)
@example(1, True)
@example(1, "1")
@example(0, False)
@example(None, "null")
@example(2**53, 2**53 + 1)
@example(float(2**53), 2**53 + 1)
@example([], {})
def test_two_values_have_two_identities(one: Any, other: Any) -> None:
    assert (identity(one) == identity(other)) == json_equal(one, other)


async def counted(*events: dict[str, Any]) -> list[dict[str, Any]]:
    @job(source="edits", sink="counts", key="page", window=tumbling("1h").count("edits").count_distinct("kinds", "v"))
    def counts(window: Window, context: Context) -> dict[str, Any]:
        return {"$schema": "/counts/1.0.0", "page": window.key, "edits": window.edits, "kinds": window.kinds}

    kit = JobKit(counts)
    await kit.open()
    await kit.put(*[{**AT, **event} for event in events])
    await kit.run()
    assert await kit.errors() == []
    return without_envelope(await kit.events())


@given(pairs.filter(lambda pair: pair[0] is not None), pairs.filter(lambda pair: pair[0] is not None))
def test_windows_and_distinct_counts_take_two_spellings_for_one(page: tuple[Any, Any], kind: tuple[Any, Any]) -> None:
    events = [{"page": one, "v": other} for one in page for other in kind]
    (window,) = asyncio.run(counted(*events))
    assert (window["edits"], window["kinds"]) == (4, 1)
    assert json_equal(window["page"], page[0])


@given(values.filter(lambda value: value is not None), values.filter(lambda value: value is not None))
@example("1", 1)
@example(True, 1)
@example("true", True)
@example('"a"', "a")
@example("[1]", [1])
@example("1e16", 1e16)
def test_a_distinct_count_tells_different_values_apart(one: Any, other: Any) -> None:
    (window,) = asyncio.run(counted({"page": 1, "v": one}, {"page": 1, "v": other}))
    assert window["kinds"] == (1 if json_equal(one, other) else 2)


@given(pairs.filter(lambda pair: pair[0] is not None))
def test_state_is_kept_by_the_value_of_the_key(pair: tuple[Any, Any]) -> None:
    @job(source="edits", sink="seen", key=lambda event: [event["a"], event["b"]], state=int)
    def seen(event: dict[str, Any], context: Context) -> dict[str, Any]:
        context.state += 1
        return {"$schema": "/seen/1.0.0", "count": context.state}

    async def run() -> list[int]:
        kit = JobKit(seen)
        await kit.open()
        await kit.put(*[{**AT, "a": value, "b": "x"} for value in pair])
        await kit.run()
        return [event["count"] for event in without_envelope(await kit.events())]

    assert asyncio.run(run()) == [1, 2]


@given(pairs.filter(lambda pair: pair[0] is not None))
def test_a_row_is_replaced_by_another_spelling_of_its_key(pair: tuple[Any, Any]) -> None:
    shape = TableShape("t", (Column("k", "json", "k"), Column("n", "integer", "n")), ("k",))
    rows, rejected = latest_rows(shape, [Delivery({"k": value, "n": n}) for n, value in enumerate(pair)])
    assert [values[1] for _, values in rows] == [1]
    assert rejected == {}


@given(pairs)
def test_events_with_one_message_key_go_to_one_partition(pair: tuple[Any, Any]) -> None:
    stream = Stream(name="keyed", message_key_fields={"k": "k"})
    gate = Gate(StreamRegistry([stream]), Validator(OpenSchemas()), GateSettings(enforce_streams=False), ManualClock())
    gate.compile("/any/1.0.0")
    keys = []
    for value in pair:
        verdict = gate.try_admit({"$schema": "/any/1.0.0", "meta": {"stream": "keyed"}, "k": value})
        assert isinstance(verdict, Admitted)
        keys.append(verdict.key)
    assert keys[0] == keys[1]


async def test_a_whole_number_written_with_a_fraction_is_a_row(tmp_path: Path) -> None:
    """A sum over 1 and 2.0 goes through the window's output into an integer column."""

    @job(source="edits", sink="sums", key="wiki", window=tumbling("1m").sum("bytes", "bytes").max("most", "bytes"))
    def sums(window: Window, context: Context) -> dict[str, Any]:
        return {"$schema": "/sums/1.0.0", "wiki": window.key, "bytes": window.bytes, "most": window.most}

    kit = JobKit(sums)
    await kit.open()
    await kit.put({**AT, "wiki": "w", "bytes": 1}, {**AT, "wiki": "w", "bytes": 2.0})
    await kit.run()
    (made,) = without_envelope(await kit.events())
    assert made == {"wiki": "w", "bytes": 3, "most": 2}
    assert b"3.0" not in orjson.dumps(made)

    columns = {"wiki": "text", "bytes": "integer"}
    filled = table("sums", source="sums", columns=columns, key="wiki")
    sink = SqliteSink(tmp_path / "tables.db", filled.output.shape)  # type: ignore[union-attr]
    rows = JobKit(filled, sink=sink)
    await rows.open()
    await rows.put({"wiki": "a", "bytes": 3.0}, {"wiki": "b", "bytes": -0.0}, {"wiki": "c", "bytes": 2.5}, made)
    await rows.run()
    assert sink.view(9, "wiki").rows == [("a", 3), ("b", 0), ("w", 3)]
    assert [error["error_type"] for error in await rows.errors()] == ["INVALID_OUTPUT"]
    await sink.close()


async def test_a_sum_beyond_all_numbers_is_an_error_event_and_the_window_stays() -> None:
    @job(source="edits", sink="sums", key="wiki", window=tumbling("1m").sum("bytes", "bytes"))
    def sums(window: Window, context: Context) -> dict[str, Any]:
        return {"$schema": "/sums/1.0.0", "bytes": window.bytes}

    kit = JobKit(sums)
    await kit.open()
    await kit.put(*[{**AT, "wiki": "w", "bytes": number} for number in (1e308, 1e308, 1)])
    await kit.run()
    assert [error["meta"]["failure"]["exception"] for error in await kit.errors()] == ["OverflowError"]
    assert without_envelope(await kit.events()) == [{"bytes": 1e308}]
