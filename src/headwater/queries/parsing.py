"""Reads a query before DuckDB does: which streams and tables it names, and the windows that DuckDB lacks.

How this works: sqlglot parses the text in DuckDB's dialect. The text goes to DuckDB as it was written, unless it
calls `hop`, or names a stream without quotes. A call of `hop` becomes a lateral join with the starts of all the windows
an event is in, since a function of one row cannot add rows.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from headwater.errors import ExtraMissing, QueryInvalid

try:
    import sqlglot
    from sqlglot import expressions as exp
    from sqlglot.errors import SqlglotError
except ImportError as error:
    raise ExtraMissing("SQL needs sqlglot, which is not installed.", hint="Install headwater[sql].") from error

DIALECT = "duckdb"
# A list of the starts of the windows; defined beside `tumble` in the engine.
HOP_STARTS = "hop_starts"


@dataclass(frozen=True, slots=True)
class ParsedQuery:
    """The text for DuckDB, and the names of the streams and tables it reads."""

    text: str
    names: tuple[str, ...]


def parse_query(text: str, known: Collection[str]) -> ParsedQuery:
    """Parse one query; of the tables it names, those that are in `known` are given back. Raises QueryInvalid."""
    try:
        statements = [statement for statement in sqlglot.parse(text, dialect=DIALECT) if statement is not None]
    except SqlglotError as error:
        raise QueryInvalid(f"The query cannot be parsed: {_reason(error)}.") from None
    if len(statements) != 1:
        raise QueryInvalid(f"There are {len(statements)} statements, and only one can be run.")
    statement = statements[0]
    names: dict[str, None] = {}
    by_name = {name.casefold(): name for name in known}
    is_rewritten = False
    for table in list(statement.find_all(exp.Table)):
        name = ".".join(part.name for part in table.parts)
        found = by_name.get(name.casefold())
        if found is None or (len(table.parts) == 1 and _is_cte(table, name)):
            continue
        names[found] = None
        if len(table.parts) > 1 or name != found:
            _quote(table, found)
            is_rewritten = True
    for select in list(statement.find_all(exp.Select)):
        is_rewritten |= _join_hops(select)
    return ParsedQuery(statement.sql(dialect=DIALECT) if is_rewritten else text.strip().rstrip(";"), tuple(names))


def _reason(error: SqlglotError) -> str:
    found: list[Mapping[str, object]] = getattr(error, "errors", [])
    if not found:
        return str(error).splitlines()[0].rstrip(".")
    first = found[0]
    return f"line {first.get('line')}, column {first.get('col')}: {first.get('description')}".rstrip(".")


def _is_cte(table: exp.Table, name: str) -> bool:
    """Whether the name is that of a WITH clause around it: one sees those before it, and itself if recursive."""
    place: exp.Expr = table
    while (outer := place.parent) is not None:
        clause = outer if isinstance(outer, exp.With) else outer.args.get("with_") or outer.args.get("with")
        if isinstance(clause, exp.With):
            visible = list(clause.expressions)
            if outer is clause:
                visible = visible[: visible.index(place) + bool(clause.args.get("recursive"))]
            if place is not clause and any(cte.alias.casefold() == name.casefold() for cte in visible):
                return True
        place = outer
    return False


def _quote(table: exp.Table, name: str) -> None:
    """Make it one quoted name; DuckDB would look for a schema, or a database."""
    table.set("this", exp.to_identifier(name, quoted=True))
    table.set("db", None)
    table.set("catalog", None)


def _join_hops(select: exp.Select) -> bool:
    """Replace each `hop(…)` of a SELECT by a column of a lateral join."""
    calls = [
        call
        for call in select.find_all(exp.Anonymous)
        if call.name.casefold() == "hop" and call.find_ancestor(exp.Select) is select
    ]
    starts: dict[str, str] = {}
    for call in calls:
        arguments = call.expressions
        if len(arguments) != 3:
            raise QueryInvalid(
                f"hop has {len(arguments)} arguments, and takes three: a time, the slide and the size.",
                hint="Such as hop(dt, '5 minutes', '1 hour').",
            )
        text = call.sql(dialect=DIALECT)
        if text not in starts:
            alias = starts[text] = f"_hop{len(starts)}"
            listed = exp.Anonymous(this=HOP_STARTS, expressions=[argument.copy() for argument in arguments])
            values = exp.Unnest(expressions=[listed])
            lateral = exp.Lateral(
                this=exp.select(exp.alias_(values, "start")).subquery(), alias=exp.to_identifier(alias)
            )
            select.append("joins", exp.Join(this=lateral, kind="CROSS"))
        column = exp.column("start", table=starts[text])
        call.replace(exp.alias_(column, "hop") if call.parent is select and call.arg_key == "expressions" else column)
    return bool(calls)
