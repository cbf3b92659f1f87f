"""The decorator `@sql_job`: a job whose steps are written in SQL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Required, TypedDict, Unpack, get_args

from headwater.errors import ExtraMissing, JobInvalid
from headwater.jobs.arguments import Arguments
from headwater.jobs.durations import Duration
from headwater.jobs.job import Job, OnError, ToStream
from headwater.jobs.place import calling_place


class SqlSettings(TypedDict, total=False):
    """What `@sql_job` takes."""

    sink: Required[str]
    name: str | None
    late: str | None
    lateness: Duration
    out_of_order: Duration
    idle: Duration
    canaries: bool
    on_error: OnError


def sql_job(**settings: Unpack[SqlSettings]) -> Callable[[Callable[[], str]], Job]:
    """Make a job of a function without arguments that returns a query, in DuckDB's dialect.

    The query filters and projects a stream, aggregates it in windows (`tumble`, `hop`), or joins two streams within a
    bound in time; everything else is refused, with the reason. Columns are the fields of the events it writes; NULL is
    left out. `lateness`: for how long windows stay open to corrections. Raises JobInvalid, with the line.
    """
    asked = Arguments("@sql_job", settings, SqlSettings.__annotations__, calling_place())
    sink = asked.sink("sink")
    if sink is None:
        raise asked.refused("sink", "`sink` is missing.", 'Such as sink="shop.totals:1.0.0".')

    def made(function: Callable[[], str]) -> Job:
        name = asked.text("name") or str(getattr(function, "__name__", ""))
        asked.function("function", value=function)
        try:
            import sqlglot

            from headwater.jobs.sql.plan import plan_of
        except ImportError as error:
            raise ExtraMissing("SQL needs sqlglot, which is not installed.", hint="Install headwater[sql].") from error
        text = function()
        if not isinstance(text, str):
            raise asked.refused("function", f"{name} returns {type(text).__name__}, not the text of a query.")
        try:
            query = sqlglot.parse_one(text, dialect="duckdb")
        except sqlglot.errors.SqlglotError as error:
            reason = str(error).splitlines()[0].rstrip(".")
            raise asked.refused("function", f"the query of {name} cannot be parsed: {reason}.") from None
        try:
            plan = plan_of(query, lateness=asked.value("lateness", 0))
            return Job(
                name,
                plan.sources,
                plan.steps,
                ToStream(*sink),
                out_of_order_ms=asked.duration_ms("out_of_order", 0),
                idle_ms=asked.idle_ms(),
                canaries=asked.flag("canaries", default=False),
                late_stream=asked.text("late"),
                on_error=asked.choice("on_error", get_args(OnError)),
                summary=(function.__doc__ or "").strip().split("\n")[0] or " ".join(text.split())[:100],
                fields_read=plan.fields,
                place=asked.place,
            )
        except JobInvalid as error:
            raise asked.refused("function", f"{name}: {error.detail}", error.hint) from None

    return made
