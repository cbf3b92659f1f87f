"""A query as the sources and steps of a job: filter, projection, windowed aggregates, and joins bounded in time.

How this works: a query without GROUP BY is one step that filters and projects. One with windows is three: the first
filters, and computes the key and what is aggregated; the second is the windows, as `@job(window=…)` makes them; the
third computes the columns of the result. A join is a step before these, whose rows have a field for each side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeGuard

from sqlglot import expressions as exp

from headwater.errors import JobInvalid
from headwater.jobs.durations import milliseconds
from headwater.jobs.operators.join import Join, Pair
from headwater.jobs.operators.sliding import sliding
from headwater.jobs.operators.windows import Window, Windows, tumbling
from headwater.jobs.sql.expressions import Row, Value, compiled, unsupported
from headwater.jobs.steps import Context, Each, Step

_UNITS = {"second": "s", "minute": "m", "hour": "h", "day": "d"}
# What a continuous query cannot have, and why.
_REFUSED: Mapping[str, str] = {
    "order": "ORDER BY needs all rows, and a stream never ends",
    "limit": "LIMIT needs an end, and a stream never ends",
    "offset": "OFFSET needs an order, and a stream has none",
    "distinct": "SELECT DISTINCT would have to remember all rows: group by a window",
    "qualify": "QUALIFY needs all rows, and a stream never ends",
    "with_": "WITH has no counterpart among the steps of a job: make a job of each query",
    "windows": "a WINDOW clause needs all rows, and a stream never ends",
    "laterals": "LATERAL has no counterpart among the steps of a job",
    "sample": "a sample is taken by the stream's own setting",
}
_AGGREGATES = (exp.Count, exp.Sum, exp.Min, exp.Max, exp.Avg)
_WINDOW_FUNCTIONS = ("tumble", "hop")


@dataclass(frozen=True, slots=True)
class SqlPlan:
    """What a query means: the streams it reads, its steps, and the names of its columns."""

    sources: tuple[str, ...]
    steps: tuple[Step, ...]
    columns: tuple[str, ...]
    # Dotted paths of the fields it reads, for the check against the schemas.
    fields: tuple[str, ...]


def plan_of(select: exp.Expr, *, lateness: str | float = 0) -> SqlPlan:
    """The plan of a parsed query. Raises JobInvalid for what cannot be continuous, with the reason."""
    if not isinstance(select, exp.Select):
        raise unsupported(select, "is not a SELECT")
    for name, why in _REFUSED.items():
        if select.args.get(name):
            raise JobInvalid(f"A continuous query cannot have that: {why}.")
    if (over := select.find(exp.Window)) is not None:
        raise unsupported(over, "is a function over all rows, and a stream never ends")
    if (inner := select.find(exp.Subquery, exp.Exists)) is not None:
        raise unsupported(inner, "is a query inside the query: make a job of each")
    return _Planner(select, lateness).plan()


class _Planner:
    def __init__(self, select: exp.Select, lateness: str | float) -> None:
        self._select = select
        self._lateness = lateness
        self._fields: dict[str, None] = {}
        # Name or alias of a side → the field of a joined row; "" for the only stream.
        self._sides: dict[str, str] = {}
        self._where: list[exp.Expr] = []

    def plan(self) -> SqlPlan:
        sources, before = self._sources()
        if (where := self._select.args.get("where")) is not None:
            self._where.append(where.this)
        grouped = self._select.args.get("group") is not None
        aggregated = any(isinstance(node, _AGGREGATES) for one in self._select.expressions for node in one.walk())
        if aggregated and not grouped:
            raise JobInvalid("Aggregates need a GROUP BY with a window.", hint="Such as tumble(dt, '1 minute').")
        steps, columns = self._windowed() if grouped else self._projected()
        return SqlPlan(sources, (*before, *steps), columns, tuple(self._fields))

    def _sources(self) -> tuple[tuple[str, ...], tuple[Step, ...]]:
        origin = self._select.args.get("from_") or self._select.args.get("from")
        table = origin.this if origin is not None else None
        if not isinstance(table, exp.Table):
            raise JobInvalid("A continuous query reads a stream.", hint='Such as FROM "shop.order".')
        joins = self._select.args.get("joins") or []
        if not joins:
            self._sides = {_stream(table): "", table.alias: ""} if table.alias else {_stream(table): ""}
            return (_stream(table),), ()
        if len(joins) > 1 or not isinstance(joins[0].this, exp.Table):
            raise unsupported(joins[-1], "is more than one join of two streams: make a job of each")
        return self._joined(table, joins[0])

    def _joined(self, left: exp.Table, join: exp.Join) -> tuple[tuple[str, ...], tuple[Step, ...]]:
        right = join.this
        how = _how(join)
        if _stream(left) == _stream(right):
            raise unsupported(join, "joins a stream with itself")
        self._sides = {_stream(left): "l", _stream(right): "r"}
        self._sides |= {table.alias: side for table, side in ((left, "l"), (right, "r")) if table.alias}
        keys, within_ms, rest = self._conditions(join)
        if rest and how == "left":
            raise unsupported(rest[0], "is a condition of a left join besides equal fields and the bound in time")
        self._where += rest
        other, sides = _stream(right), {"l": [one for one, _ in keys], "r": [one for _, one in keys]}
        values = {side: [compiled(one, self._of_one_side) for one in nodes] for side, nodes in sides.items()}

        def key(event: Any, context: Context) -> Any:
            return [value(event) for value in values["r" if context.stream == other else "l"]]

        def with_key(event: Any, context: Context) -> Any:
            """NULL equals nothing, so an event without the key has no match."""
            if None not in key(event, context):
                return event
            if how == "left" and context.stream != other:
                raise ValueError("a field by which the streams are joined is absent")
            return None

        def paired(pair: Pair, context: Context) -> Any:
            return {"l": pair.left, "r": pair.right}

        operator = Join(other, within_ms / 1000, how)
        steps = (Each("keys", with_key), operator.step("join", key), Each("pair", paired))
        return (_stream(left), other), steps

    def _conditions(self, join: exp.Join) -> tuple[list[tuple[exp.Expr, exp.Expr]], int, list[exp.Expr]]:
        keys: list[tuple[exp.Expr, exp.Expr]] = []
        rest: list[exp.Expr] = []
        within_ms: int | None = None
        for condition in _parts_of(join.args["on"]):
            sides = {self._side_of(column) for column in condition.find_all(exp.Column)}
            if isinstance(condition, exp.EQ) and sides == {"l", "r"}:
                one, other = condition.this, condition.expression
                own = {self._side_of(column) for column in one.find_all(exp.Column)}
                if own <= {"l"} or own <= {"r"}:
                    keys.append((one, other) if own == {"l"} else (other, one))
                    continue
            if isinstance(condition, exp.Between) and sides == {"l", "r"}:
                within_ms = self._within_ms(condition)
                continue
            rest.append(condition)
        if not keys:
            raise unsupported(join, "has no condition that fields of both streams are equal")
        if within_ms is None:
            raise JobInvalid(
                "A join of two streams needs a bound in time.",
                hint="Such as b.dt BETWEEN a.dt - INTERVAL '10 minutes' AND a.dt + INTERVAL '10 minutes'.",
            )
        return keys, within_ms, rest

    def _within_ms(self, between: exp.Between) -> int:
        low, high = between.args["low"], between.args["high"]
        if not (isinstance(low, exp.Sub) and isinstance(high, exp.Add)) or low.this != high.this:
            raise unsupported(between, "is not a bound in time of the form b.dt BETWEEN a.dt - … AND a.dt + …")
        for one in (between.this, low.this):
            self._check_event_time(one)
        before, after = _interval_ms(low.expression), _interval_ms(high.expression)
        if before != after:
            raise unsupported(between, "reaches further to one side than to the other")
        return before

    def _projected(self) -> tuple[tuple[Step, ...], tuple[str, ...]]:
        where = self._filter()
        if len(self._select.expressions) == 1 and isinstance(self._select.expressions[0], exp.Star):
            if len(set(self._sides.values())) > 1:
                raise unsupported(self._select.expressions[0], "has the fields of two streams: name those you want")
            return (Each("select", lambda event, context: event if where(event) else None),), ()
        columns = [(name, compiled(node, self._path)) for name, node in self._named()]

        def project(event: Any, context: Context) -> Any:
            return _row(columns, event) if where(event) else None

        return (Each("select", project),), tuple(name for name, _ in columns)

    def _windowed(self) -> tuple[tuple[Step, ...], tuple[str, ...]]:
        named = self._named()
        groups = self._groups(named)
        window_call = next(filter(_is_window, groups), None)
        if window_call is None:
            raise JobInvalid(
                "GROUP BY without a window would never be complete, since a stream never ends.",
                hint="Add tumble(dt, '1 minute') or hop(dt, '1 minute', '1 hour') to it.",
            )
        keys = [node for node in groups if not _is_window(node)]
        having = self._select.args.get("having")
        results = _Results(keys, window_call, self._path)
        columns = [(name, compiled(results.rewritten(node), results.path)) for name, node in named]
        kept: Value = _true
        if having is not None:
            kept = compiled(results.rewritten(_without_aliases(having.this, named)), results.path)
        windows = results.windows(self._windows(window_call))
        where, key_values = self._filter(), [compiled(node, self._path) for node in keys]
        arguments = results.arguments()

        def prepare(event: Any, context: Context) -> Any:
            if not where(event):
                return None
            row = {name: value(event) for name, value in arguments.items()}
            return {**row, "k": [value(event) for value in key_values]}

        def finish(window: Window, context: Context) -> Any:
            row = results.row(window)
            if kept(row) is not True:
                return None
            return {"dt": window.end, **_row(columns, row)}

        keyed = windows.step("window", lambda prepared, context: prepared["k"])
        steps = (Each("where", prepare), keyed, Each("select", finish))
        return steps, tuple(name for name, _ in columns)

    def _windows(self, call: exp.Anonymous) -> Windows:
        arguments = call.expressions
        is_hop = call.name.casefold() == "hop"
        if len(arguments) != (3 if is_hop else 2):
            raise unsupported(call, "takes a time, the slide and the size" if is_hop else "takes a time and the size")
        self._check_event_time(arguments[0])
        sizes = [_interval_ms(one) / 1000 for one in arguments[1:]]
        if is_hop:
            return sliding(sizes[1], sizes[0], lateness=self._lateness)
        return tumbling(sizes[0], lateness=self._lateness)

    def _groups(self, named: Sequence[tuple[str, exp.Expr]]) -> list[exp.Expr]:
        group = self._select.args["group"]
        if group.args.get("all"):
            return [node for _, node in named if not any(isinstance(one, _AGGREGATES) for one in node.walk())]
        aliases = {name.casefold(): node for name, node in named}
        found = []
        for one in group.expressions:
            if isinstance(one, exp.Literal) and not one.is_string:
                number = int(one.this)
                if not 1 <= number <= len(named):
                    raise unsupported(one, "is not the number of a column")
                one = named[number - 1][1]  # noqa: PLW2901 - what it stands for
            elif isinstance(one, exp.Column) and not one.table and one.name.casefold() in aliases:
                one = aliases[one.name.casefold()]  # noqa: PLW2901 - what it stands for
            found.append(one)
        return found

    def _named(self) -> list[tuple[str, exp.Expr]]:
        """The columns of the result, by name."""
        found: dict[str, exp.Expr] = {}
        for one in self._select.expressions:
            node = one.this if isinstance(one, exp.Alias) else one
            name = one.alias or (node.name if isinstance(node, exp.Column | exp.Dot | exp.Anonymous) else "")
            if isinstance(node, exp.Star) or not name:
                raise unsupported(one, "needs a name: add AS")
            if name in found:
                raise unsupported(one, f"is the second column called {name}")
            found[name] = node
        return list(found.items())

    def _filter(self) -> Callable[[Row], bool]:
        conditions = [compiled(node, self._path) for node in self._where]
        return lambda row: all(condition(row) is True for condition in conditions)

    def _path(self, column: exp.Column) -> Sequence[str]:
        """Where a column is in a row: a name, the names of nested fields, and before them that of a side."""
        parts = [part.name for part in column.parts]
        side = self._side_of(column)
        for length in (1, 2, 3):
            # The name of a stream may have dots.
            if len(parts) > length and ".".join(parts[:length]) in self._sides:
                parts = parts[length:]
                break
        if not side:
            self._fields[".".join(parts)] = None
        return [side, *parts] if side else parts

    def _of_one_side(self, column: exp.Column) -> Sequence[str]:
        path = self._path(column)
        return path[1:]

    def _side_of(self, column: exp.Column) -> str:
        parts = [part.name for part in column.parts]
        for length in (1, 2, 3):
            side = self._sides.get(".".join(parts[:length])) if len(parts) > length else None
            if side is not None:
                return side
        if len(set(self._sides.values())) > 1:
            raise unsupported(column, "does not say of which stream it is")
        return ""

    def _check_event_time(self, node: exp.Expr) -> None:
        if not isinstance(node, exp.Column) or self._path(node)[-1] != "dt":
            raise unsupported(node, "is not the event time: windows and joins go by `dt`")


class _Results:
    """The aggregates of a query: each is an aggregate of the windows, and a column of their results."""

    def __init__(self, keys: Sequence[exp.Expr], window: exp.Expr, path: Callable[[exp.Column], Sequence[str]]) -> None:
        self._keys = list(keys)
        self._window = window
        self._path_of = path
        self._found: dict[str, tuple[exp.Expr, exp.Expr | None]] = {}

    def rewritten(self, node: exp.Expr) -> exp.Expr:
        """`node` with columns of the result for aggregates, keys and the window."""
        node = node.copy()

        def replaced(one: exp.Expr) -> exp.Expr:
            for number, key in enumerate(self._keys):
                if one == key:
                    return exp.column(f"k{number}", table="_result")
            if one == self._window:
                return exp.column("w", table="_result")
            inner, condition = (one.this, one.expression.this) if isinstance(one, exp.Filter) else (one, None)
            if isinstance(inner, _AGGREGATES):
                return exp.column(self._aggregate(inner, condition), table="_result")
            if isinstance(one, exp.AggFunc):
                raise unsupported(one)
            return one

        return node.transform(replaced)

    def _aggregate(self, node: exp.Expr, condition: exp.Expr | None) -> str:
        text = node.sql() + ("" if condition is None else f" filter {condition.sql()}")
        if text not in self._found:
            self._found[text] = (node, condition)
        return f"a{list(self._found).index(text)}"

    def path(self, column: exp.Column) -> Sequence[str]:
        """Columns of results only: any other is not the same for all events of a group."""
        if column.table != "_result":
            raise unsupported(column, "is neither aggregated nor in the GROUP BY")
        return [column.name]

    def arguments(self) -> dict[str, Value]:
        """What each event contributes to each aggregate; None contributes nothing."""
        return {f"a{number}": self._argument(*one) for number, one in enumerate(self._found.values())}

    def _argument(self, node: exp.Expr, condition: exp.Expr | None) -> Value:
        inner = node.this
        if isinstance(inner, exp.Distinct):
            if len(inner.expressions) != 1:
                raise unsupported(node, "counts several columns")
            inner = inner.expressions[0]
        value = (lambda row: 1) if isinstance(inner, exp.Star) else compiled(inner, self._path_of)
        if condition is None:
            return value
        holds = compiled(condition, self._path_of)
        return lambda row: value(row) if holds(row) is True else None

    def windows(self, windows: Windows) -> Windows:
        """With an aggregate for each of the query's, and the number of values of each, since none at all is NULL."""
        for number, (node, _) in enumerate(self._found.values()):
            name = f"a{number}"
            if isinstance(node, exp.Count) and isinstance(node.this, exp.Distinct):
                windows = windows.count_distinct(name, name)
                continue
            windows = windows.count(f"n{number}", _has(name))
            match node:
                case exp.Sum():
                    windows = windows.sum(name, name)
                case exp.Min():
                    windows = windows.min(name, name)
                case exp.Max():
                    windows = windows.max(name, name)
                case exp.Avg():
                    windows = windows.mean(name, name)
        return windows if windows.aggregates else windows.count("n")

    def row(self, window: Window) -> dict[str, Any]:
        """A window as a row of results."""
        key = window.key if isinstance(window.key, tuple) else (window.key,)
        row: dict[str, Any] = {f"k{number}": value for number, value in enumerate(key)}
        row["w"] = window.start
        for number, (node, _) in enumerate(self._found.values()):
            name, count = f"a{number}", window.values.get(f"n{number}")
            if isinstance(node, exp.Count):
                row[name] = window.values[name] if isinstance(node.this, exp.Distinct) else count
            else:
                row[name] = window.values[name] if count else None
        return row


def _true(row: Row) -> bool:
    return True


def _without_aliases(node: exp.Expr, named: Sequence[tuple[str, exp.Expr]]) -> exp.Expr:
    """`node` with what the names of columns of the result stand for."""
    known = {name.casefold(): one for name, one in named}

    def replaced(one: exp.Expr) -> exp.Expr:
        is_name = isinstance(one, exp.Column) and not one.table
        return known[one.name.casefold()].copy() if is_name and one.name.casefold() in known else one

    return node.copy().transform(replaced)


def _has(name: str) -> Callable[[Mapping[str, Any]], bool]:
    return lambda row: row[name] is not None


def _row(columns: Sequence[tuple[str, Value]], row: Row) -> dict[str, Any]:
    """The columns that are not NULL: fields without a value are absent in events."""
    return {name: value for name, compute in columns if (value := compute(row)) is not None}


def _is_window(node: exp.Expr) -> TypeGuard[exp.Anonymous]:
    return isinstance(node, exp.Anonymous) and node.name.casefold() in _WINDOW_FUNCTIONS


def _how(join: exp.Join) -> Literal["inner", "left"]:
    if join.side not in ("", "LEFT") or join.kind not in ("", "INNER", "OUTER") or join.args.get("on") is None:
        raise unsupported(join, "is not an inner or a left join with ON")
    return "left" if join.side == "LEFT" else "inner"


def _stream(table: exp.Table) -> str:
    return ".".join(part.name for part in table.parts)


def _parts_of(condition: exp.Expr) -> list[exp.Expr]:
    if isinstance(condition, exp.Paren):
        return _parts_of(condition.this)
    if isinstance(condition, exp.And):
        return [*_parts_of(condition.this), *_parts_of(condition.expression)]
    return [condition]


def _interval_ms(node: exp.Expr) -> int:
    """The length of `INTERVAL '10 minutes'`, or of the text '10 minutes'."""
    text = ""
    if isinstance(node, exp.Interval):
        unit = node.args.get("unit")
        text = f"{node.this.name if node.this is not None else ''} {unit.name if unit is not None else ''}"
    elif isinstance(node, exp.Literal) and node.is_string:
        text = node.this
    number, _, unit = text.strip().partition(" ")
    letter = _UNITS.get(unit.strip().casefold().removesuffix("s"))
    if letter is not None:
        try:
            return milliseconds(number + letter)
        except JobInvalid:
            pass
    raise unsupported(node, "is not a duration in seconds, minutes, hours or days")
