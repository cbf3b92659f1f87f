"""Jobs of several parts: async functions, state behind them, timers, keys by stream, settings."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import Any

import pytest

from headwater.errors import ConfigInvalid, JobInvalid
from headwater.jobs import Await, Context, Dedupe, Each, Job, Join, PerKey, Rate, Retry, job, tumbling
from headwater.jobs.loader import load_jobs
from headwater.jobs.settings import settings_of_texts, with_settings
from headwater.testing.job_kit import JobKit


def at(seconds: float, **fields: Any) -> dict[str, Any]:
    """An event with a time of day, as the kit's events have."""
    return {
        "$schema": "/in/1.0.0",
        "meta": {"dt": f"2026-01-01T00:{int(seconds) // 60:02d}:{seconds % 60:02.0f}Z"},
        **fields,
    }


async def outputs(made: Job, *events: dict[str, Any], stream: str | None = None) -> list[dict[str, Any]]:
    kit = JobKit(made)
    await kit.open()
    await kit.put(*events)
    await kit.run()
    assert await kit.errors() == []
    return [
        {k: v for k, v in event.items() if k not in ("$schema", "meta", "dt")} for event in await kit.events(stream)
    ]


def made(value: Any, **fields: Any) -> dict[str, Any]:
    return {"$schema": "/out/1.0.0", "value": value, **fields}


async def test_an_async_function_is_awaited_and_a_later_part_keeps_state_behind_it() -> None:
    @job(source="in", sink="out", key="k")
    async def fetched(event: dict[str, Any], context: Context) -> dict[str, Any]:
        await asyncio.sleep(0)
        return {**event, "title": event["k"].upper()}

    @fetched.then(state=int, key="k")
    def counted(event: dict[str, Any], context: Context) -> dict[str, Any]:
        context.state += 1
        return made(context.state, title=event["title"])

    assert counted is fetched
    assert [type(step) for step in fetched.steps] == [Await, PerKey]
    found = await outputs(fetched, at(1, k="a"), at(2, k="b"), at(3, k="a"))
    assert found == [{"value": 1, "title": "A"}, {"value": 1, "title": "B"}, {"value": 2, "title": "A"}]


async def test_an_async_generator_gives_several_events_and_a_retried_function_is_called_in_place() -> None:
    @job(source="in", sink="out", timeout="5s", concurrency=3)
    async def several(event: dict[str, Any], context: Context) -> Any:
        for number in range(event["n"]):
            yield made(number)

    @job(source="in", sink="out", retry=Retry(within="5s"))
    def plain(event: dict[str, Any], context: Context) -> Any:
        yield made(event["n"])

    assert isinstance(several.steps[0], Await)
    assert (several.steps[0].timeout_ms, several.steps[0].concurrency, several.steps[0].retry) == (5_000, 3, None)
    assert isinstance(plain.steps[0], Await)
    assert plain.steps[0].retry == Retry(within="5s")
    assert await outputs(several, at(1, n=2), at(2, n=0)) == [{"value": 0}, {"value": 1}]
    assert await outputs(plain, at(1, n=2)) == [{"value": 2}]


async def test_parts_follow_one_another_in_order() -> None:
    @job(source="in", sink="out", where=lambda event: event["n"] > 0)
    def first(event: dict[str, Any], context: Context) -> Any:
        return {"n": event["n"] + 1}

    @first.then(where=lambda event: event["n"] != 3)
    def second(event: dict[str, Any], context: Context) -> Any:
        return {"n": event["n"] * 10}

    @first.then(key="n", state=int)
    def third(event: dict[str, Any], context: Context) -> Any:
        return made(event["n"])

    assert [step.name for step in first.steps] == ["where", "function", "then.where", "then", "then-2"]
    assert await outputs(first, at(1, n=0), at(2, n=1), at(3, n=2), at(4, n=3)) == [{"value": 20}, {"value": 40}]


async def test_timers_of_the_function_call_the_functions_of_their_names() -> None:
    @job(source="in", sink="out", outputs="also", key="k", state=int)
    def counted(event: dict[str, Any], context: Context) -> None:
        context.state += 1
        context.timer("over", after="30s")
        if event.get("last"):
            context.cancel("over")
            context.timer("ended", at_ms=context.event_time_ms + 1)

    @counted.on_timer("over")
    def over(context: Context) -> Any:
        count, context.state = context.state, None
        return made(count, k=context.key)

    @counted.on_timer("ended")
    def ended(context: Context) -> Any:
        context.emit(made("ended"), to="also")

    kit = JobKit(counted)
    await kit.open()
    await kit.put(at(0, k="a"), at(10, k="a"), at(0, k="b"), at(50, k="c", last=True))
    await kit.run()
    assert await kit.errors() == []
    assert [(event["k"], event["value"]) for event in await kit.events()] == [("b", 1), ("a", 2)]
    assert [event["value"] for event in await kit.events("also")] == ["ended"]


async def test_a_timer_without_a_function_is_an_error_that_names_the_nearest() -> None:
    @job(source="in", sink="out", key="k", state=int)
    def counted(event: dict[str, Any], context: Context) -> None:
        context.timer(event["timer"], after=1)

    @counted.on_timer("forget")
    def forget(context: Context) -> None: ...

    kit = JobKit(counted)
    await kit.open()
    await kit.put(at(0, k="a", timer="forgt"), at(1, k="a", timer="zzz"), at(2, k="a", timer="forget"))
    await kit.run()
    first, second = [error["message"] for error in await kit.errors()]
    assert "timer('forgt'): no function is called when it is due. Did you mean 'forget'?" in first
    assert "Add one: @counted.on_timer('zzz')" in second


async def test_a_key_may_differ_by_stream() -> None:
    @job(
        source=["created", "deleted"],
        sink="out",
        key={"created": ("wiki", "page.id"), "deleted": lambda event: [event["db"], event["id"]]},
        state=int,
    )
    def counted(event: dict[str, Any], context: Context) -> Any:
        context.state += 1
        return made(context.state, key=context.key)

    kit = JobKit(counted)
    await kit.open()
    await kit.put({"wiki": "en", "page": {"id": 3}}, stream="created")
    await kit.put({"db": "en", "id": 3}, {"db": "de", "id": 3}, stream="deleted")
    await kit.run()
    found = sorted((event["key"], event["value"]) for event in await kit.events())
    assert found == [(["de", 3], 1), (["en", 3], 1), (["en", 3], 2)]
    assert (counted.fields_read, counted.fields_of_streams) == ((), (("created", "wiki"), ("created", "page.id")))


@pytest.mark.parametrize("where", ["file", "command line"])
async def test_settings_have_defaults_and_values_of_the_project(where: str) -> None:
    @job(source="in", sink="out", settings={"limit": 3, "name": "x", "ratio": 0.5, "words": ["a"], "any": None})
    def limited(event: dict[str, Any], context: Context) -> Any:
        return made([context.settings[name] for name in ("limit", "name", "ratio", "words", "any")])

    assert await outputs(limited, at(0)) == [{"value": [3, "x", 0.5, ["a"], None]}]
    if where == "file":
        values = {"limit": 5, "name": "5", "ratio": 2, "words": ["b", 1], "any": {"x": 1}}
        (changed,) = with_settings([limited], {"limited": values})
    else:
        texts = {"limit": "5", "name": "5", "ratio": "2", "words": '["b", 1]', "any": '{"x": 1}'}
        changed = dataclasses.replace(limited, settings=settings_of_texts(limited, texts, "--set"))
    assert await outputs(changed, at(0)) == [{"value": [5, "5", 2.0, ["b", 1], {"x": 1}]}]


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ({"limted": {"limit": 1}}, "headwater.yaml: there is no job limted. Did you mean limited?"),
        ({"limited": {"limt": 1}}, "has no setting limt. Did you mean limit?"),
        ({"limited": {"zzzzz": 1}}, "has no setting zzzzz. Known: limit, on."),
        ({"limited": {"limit": "1"}}, "jobs.settings.limited.limit must be a whole number, not '1'. Its default is 3."),
        ({"limited": {"limit": True}}, "must be a whole number, not True"),
        ({"limited": {"on": 1}}, "must be true or false, not 1"),
        ({"limited": 3}, "jobs.settings.limited must be a mapping"),
    ],
)
def test_a_setting_that_cannot_be_is_named(written: dict[str, Any], complaint: str) -> None:
    @job(source="in", sink="out", settings={"limit": 3, "on": False})
    def limited(event: dict[str, Any], context: Context) -> None: ...

    with pytest.raises(ConfigInvalid) as refused:
        with_settings([limited], written)
    assert complaint in str(refused.value)
    found: list[ConfigInvalid] = []
    assert with_settings([limited], written, found.append) == [limited]
    assert len(found) == 1


def test_a_value_on_the_command_line_that_cannot_be_read_is_named() -> None:
    @job(source="in", sink="out", settings={"words": []})
    def limited(event: dict[str, Any], context: Context) -> None: ...

    with pytest.raises(ConfigInvalid, match=r"--set: words cannot be '\[1,'"):
        settings_of_texts(limited, {"words": "[1,"}, "--set")


def test_operators_make_their_steps_in_one_order_before_the_function() -> None:
    window = tumbling("1m").count().sum("total", "n")

    @job(
        source="in",
        key="k",
        where=bool,
        window=window,
        rate=Rate(2, "1m"),
        join=Join("right", within="1m"),
        reorder=("rev", "1m"),
        dedupe=Dedupe("meta.id", "1d"),
    )
    def all_of_them(event: Any, context: Context) -> Any:
        return event

    names = ["where", "dedupe", "reorder", "join", "rate", "window", "function"]
    assert [step.name for step in all_of_them.steps] == names
    assert isinstance(all_of_them.steps[-1], Each)
    assert (all_of_them.sources, all_of_them.fields_read) == (("in", "right"), ("k",))
    assert [path for path, _ in all_of_them.fields_added_up] == ["n"]
    with pytest.raises(JobInvalid, match="`join` reads a stream, so it belongs to the first part"):
        all_of_them.then(key="k", join=Join("right", within="1m"))


async def test_an_event_with_an_id_that_was_seen_is_dropped_and_a_window_counts_the_rest() -> None:
    @job(source="in", sink="out", key="k", dedupe=Dedupe("id", "1d"), window=tumbling("1m").count())
    def counted(window: Any, context: Context) -> Any:
        return made(window.count, k=window.key)

    found = await outputs(counted, at(1, k="a", id=1), at(2, k="a", id=2), at(3, k="a", id=1), at(4, k="b", id=3))
    assert sorted((one["k"], one["value"]) for one in found) == [("a", 2), ("b", 1)]


async def test_events_are_put_in_order_before_the_function_which_knows_their_stream() -> None:
    @job(source=["in", "other"], sink="out", key="k", reorder=("rev", "1m"), state=list)
    def seen(event: dict[str, Any], context: Context) -> Any:
        context.state.append([event["rev"], context.stream])
        return made(context.state)

    kit = JobKit(seen)
    await kit.open()
    await kit.put(at(1, k="a", rev=2), stream="other")
    await kit.put(at(2, k="a", rev=1), stream="in")
    await kit.run()
    assert (await kit.events())[-1]["value"] == [[1, "in"], [2, "other"]]


BRANCHES = """from headwater.jobs import job

@job(source="in", key="k")
async def fetched(event, context):
    return {**event, "title": event["k"].upper()}

long = fetched.branch("long", sink="long", where=lambda event: event["n"] > 5)

@long.then(key="k", state=int)
def counted(event, context):
    context.state += 1
    return {"$schema": "/out/1.0.0", "value": [event["title"], context.state]}

short = fetched.branch("short", sink="short", outputs="also")

@short.then(where=lambda event: event["n"] <= 5)
def passed(event, context):
    context.emit({"$schema": "/out/1.0.0", "value": "also"}, to="also")
    return {"$schema": "/out/1.0.0", "value": event["title"]}
"""


async def test_branches_are_jobs_that_begin_alike(tmp_path: Path) -> None:
    (tmp_path / "branches.py").write_text(BRANCHES, encoding="utf-8")
    jobs = {job.name: job for job in load_jobs(tmp_path, tmp_path)}
    # The common beginning writes nothing, so that it is no job by itself.
    assert list(jobs) == ["fetched.long", "fetched.short"]
    assert [step.name for step in jobs["fetched.long"].steps] == ["function", "long.where", "then"]
    assert jobs["fetched.long"].writes().streams == ("long", "fetched.long.error")
    assert jobs["fetched.short"].writes().streams == ("short", "also", "fetched.short.error")
    assert jobs["fetched.long"].place != jobs["fetched.short"].place
    events = [at(second, k="a", n=second) for second in (1, 8, 3, 9)]
    assert await outputs(jobs["fetched.long"], *events) == [{"value": ["A", 1]}, {"value": ["A", 2]}]
    assert await outputs(jobs["fetched.short"], *events) == [{"value": "A"}, {"value": "A"}]


def test_a_job_with_an_output_and_branches_is_one_of_them(tmp_path: Path) -> None:
    text = BRANCHES.replace('source="in", ', 'source="in", sink="all", ')
    (tmp_path / "branches.py").write_text(text, encoding="utf-8")
    assert [job.name for job in load_jobs(tmp_path, tmp_path)] == ["fetched", "fetched.long", "fetched.short"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("fetched.branch('a.b', sink='x')", "the name of a branch has letters, digits"),
        ("fetched.branch(3, sink='x')", "the name of a branch has letters, digits"),
        ("fetched.branch('b', sinks='x')", "unknown argument `sinks`; did you mean `sink`?"),
        ("fetched.branch('b', sink='x:1')", "`sink` is `stream` or `stream:1.0.0`"),
        ("fetched.branch('b', sink='in')", "reads the stream it writes"),
        ("fetched.branch('b', where=3)", "`where` is a function (event)"),
        ("fetched.branch('b', outputs=3)", "`outputs` is a list of streams"),
        ("fetched.branch('b', late=3)", "`late` is text"),
        ("@fetched.then(key='k', state=int)\ndef more(event, context): ...", "has branches, which begin with what"),
    ],
)
def test_what_a_branch_does_not_take_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "branches.py").write_text(f"{BRANCHES}\n{text}\n", encoding="utf-8")
    with pytest.raises(JobInvalid) as refused:
        load_jobs(tmp_path, tmp_path)
    assert complaint in refused.value.detail
    assert refused.value.line is not None
