"""Expressions of SQL as functions of a row, with the meaning that DuckDB gives them.

A row is a JSON object; a column that it lacks is NULL. Every operator gives NULL for NULL, except where SQL says
otherwise. What has no such meaning is refused when the job is loaded; a value of the wrong type raises ValueError when
the event is processed, so that the event becomes an error event.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from headwater.errors import ExtraMissing, JobInvalid

try:
    from sqlglot import expressions as exp
except ImportError as error:
    raise ExtraMissing("SQL needs sqlglot, which is not installed.", hint="Install headwater[sql].") from error

Row = Mapping[str, Any]
Value = Callable[[Row], Any]
Resolve = Callable[[exp.Column], Sequence[str]]

_ARITHMETIC: Mapping[type[exp.Expr], Callable[[Any, Any], Any]] = {
    exp.Add: operator.add,
    exp.Sub: operator.sub,
    exp.Mul: operator.mul,
}
_COMPARISONS: Mapping[type[exp.Expr], Callable[[Any, Any], bool]] = {
    exp.EQ: operator.eq,
    exp.NEQ: operator.ne,
    exp.GT: operator.gt,
    exp.GTE: operator.ge,
    exp.LT: operator.lt,
    exp.LTE: operator.le,
}
_NUMBERS = (int, float)


def compiled(node: exp.Expr, resolve: Resolve) -> Value:
    """The function that computes `node`. Raises JobInvalid for what has no continuous meaning here."""
    made = _compile(node, resolve)
    if made is None:
        raise unsupported(node)
    return made


def unsupported(node: exp.Expr, why: str = "has no counterpart among the steps of a job") -> JobInvalid:
    """The error about a part of a query."""
    text = node.sql(dialect="duckdb")
    shown = text if len(text) <= 80 else f"{text[:79]}…"
    return JobInvalid(f"`{shown}` {why}.", hint="Write this job as a Python function instead.")


def _compile(node: exp.Expr, resolve: Resolve) -> Value | None:
    for compile_kind in (_leaf, _logic, _comparison, _number, _text, _choice):
        made = compile_kind(node, resolve)
        if made is not None:
            return made
    return None


def _leaf(node: exp.Expr, resolve: Resolve) -> Value | None:
    match node:
        case exp.Paren():
            return compiled(node.this, resolve)
        case exp.Literal():
            value: Any = node.this if node.is_string else _number_of(node.this)
            return lambda row: value
        case exp.Null():
            return lambda row: None
        case exp.Boolean():
            truth = bool(node.this)
            return lambda row: truth
        case exp.Column():
            return _path(resolve(node))
        case exp.Dot():
            inner, name = compiled(node.this, resolve), node.expression.name
            return lambda row: _member(inner(row), name)
        case exp.Bracket():
            return _bracket(node, resolve)
        case exp.Interval() | exp.Star():
            raise unsupported(node)
    return None


def _number_of(text: str) -> int | float:
    return int(text) if text.isdigit() else float(text)


def _path(path: Sequence[str]) -> Value:
    if len(path) == 1:
        name = path[0]
        return lambda row: row.get(name)

    def value(row: Row) -> Any:
        found: Any = row
        for name in path:
            found = _member(found, name)
        return found

    return value


def _member(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, Mapping) else None


def _bracket(node: exp.Bracket, resolve: Resolve) -> Value:
    inner, (at,) = compiled(node.this, resolve), node.expressions
    if not isinstance(at, exp.Literal):
        raise unsupported(node, "has an index that is not written out")
    if at.is_string:
        name = at.this
        return lambda row: _member(inner(row), name)
    # The parser counts from 0, as Python does.
    index = int(at.this)

    def value(row: Row) -> Any:
        items = inner(row)
        return items[index] if isinstance(items, list) and 0 <= index < len(items) else None

    return value


def _logic(node: exp.Expr, resolve: Resolve) -> Value | None:
    match node:
        case exp.And():
            return _connected(node, resolve, decides=False)
        case exp.Or():
            return _connected(node, resolve, decides=True)
        case exp.Not():
            inner = compiled(node.this, resolve)

            def negated(row: Row) -> Any:
                value = _truth(inner(row))
                return None if value is None else not value

            return negated
        case exp.Is():
            left, right = compiled(node.this, resolve), compiled(node.expression, resolve)
            return lambda row: left(row) is right(row)
    return None


def _connected(node: exp.And | exp.Or, resolve: Resolve, *, decides: bool) -> Value:
    left, right = compiled(node.this, resolve), compiled(node.expression, resolve)

    def connected(row: Row) -> Any:
        one = _truth(left(row))
        if one is decides:
            return decides
        other = _truth(right(row))
        if other is decides:
            return decides
        return None if one is None or other is None else not decides

    return connected


def _truth(value: Any) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    raise ValueError(f"{value!r} is not true or false")


def _comparison(node: exp.Expr, resolve: Resolve) -> Value | None:
    if (compare := _COMPARISONS.get(type(node))) is not None:
        left, right = compiled(node.this, resolve), compiled(node.expression, resolve)
        return lambda row: _compared(compare, left(row), right(row))
    match node:
        case exp.Between():
            value = compiled(node.this, resolve)
            low, high = compiled(node.args["low"], resolve), compiled(node.args["high"], resolve)

            def between(row: Row) -> Any:
                tested = value(row)
                above = _compared(operator.ge, tested, low(row))
                below = _compared(operator.le, tested, high(row))
                return False if above is False or below is False else None if above is None or below is None else True

            return between
        case exp.In():
            if not node.expressions:
                raise unsupported(node, "compares with another query")
            value, options = compiled(node.this, resolve), [compiled(one, resolve) for one in node.expressions]

            def within(row: Row) -> Any:
                tested = value(row)
                found = [_compared(operator.eq, tested, option(row)) for option in options]
                return True if True in found else None if None in found else False

            return within
        case exp.Like() | exp.ILike():
            return _like(node, resolve)
    return None


def _compared(compare: Callable[[Any, Any], bool], one: Any, other: Any) -> bool | None:
    if one is None or other is None:
        return None
    if _kind(one) != _kind(other):
        raise ValueError(f"{one!r} cannot be compared with {other!r}")
    return compare(one, other)


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    return "number" if isinstance(value, _NUMBERS) else type(value).__name__


def _like(node: exp.Like | exp.ILike, resolve: Resolve) -> Value:
    pattern = node.expression
    if not isinstance(pattern, exp.Literal) or not pattern.is_string:
        raise unsupported(node, "has a pattern that is not written out")
    parts = {"%": ".*", "_": "."}
    written = "".join(parts.get(character, re.escape(character)) for character in pattern.this)
    flags = re.DOTALL | (re.IGNORECASE if isinstance(node, exp.ILike) else 0)
    found, value = re.compile(written, flags), compiled(node.this, resolve)

    def matches(row: Row) -> Any:
        text = value(row)
        return None if text is None else found.fullmatch(_text_of(text)) is not None

    return matches


def _number(node: exp.Expr, resolve: Resolve) -> Value | None:
    if (compute := _ARITHMETIC.get(type(node))) is not None:
        return _computed(compute, node, resolve)
    match node:
        case exp.Div():
            return _computed(_divided, node, resolve)
        case exp.Neg():
            inner = compiled(node.this, resolve)
            return lambda row: _applied(operator.neg, inner(row))
        case exp.Abs():
            inner = compiled(node.this, resolve)
            return lambda row: _applied(abs, inner(row))
    return None


def _computed(compute: Callable[[Any, Any], Any], node: exp.Expr, resolve: Resolve) -> Value:
    left, right = compiled(node.this, resolve), compiled(node.expression, resolve)

    def value(row: Row) -> Any:
        one, other = left(row), right(row)
        if one is None or other is None:
            return None
        return compute(_number_in(one), _number_in(other))

    return value


def _divided(one: Any, other: Any) -> float:
    if other == 0:
        # The result would be infinite, which JSON has not.
        raise ValueError(f"{one!r} is divided by 0")
    return float(one / other)


def _applied(function: Callable[[Any], Any], value: Any) -> Any:
    return None if value is None else function(_number_in(value))


def _number_in(value: Any) -> Any:
    if isinstance(value, _NUMBERS) and not isinstance(value, bool):
        return value
    raise ValueError(f"{value!r} is not a number")


_TEXTS: Mapping[type[exp.Expr], Callable[[str], Any]] = {
    exp.Lower: str.lower,
    exp.Upper: str.upper,
    exp.Length: len,
}


def _text(node: exp.Expr, resolve: Resolve) -> Value | None:
    if (change := _TEXTS.get(type(node))) is not None:
        inner = compiled(node.this, resolve)

        def changed(row: Row) -> Any:
            text = inner(row)
            return None if text is None else change(_text_of(text))

        return changed
    match node:
        case exp.DPipe():
            left, right = compiled(node.this, resolve), compiled(node.expression, resolve)

            def joined(row: Row) -> Any:
                one, other = left(row), right(row)
                return None if one is None or other is None else _text_of(one) + _text_of(other)

            return joined
        case exp.StartsWith():
            left, right = compiled(node.this, resolve), compiled(node.expression, resolve)

            def starts(row: Row) -> Any:
                one, other = left(row), right(row)
                return None if one is None or other is None else _text_of(one).startswith(_text_of(other))

            return starts
    return None


def _text_of(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise ValueError(f"{value!r} is not text")


def _choice(node: exp.Expr, resolve: Resolve) -> Value | None:
    match node:
        case exp.Coalesce():
            options = [compiled(one, resolve) for one in (node.this, *node.expressions)]
            return lambda row: next((value for option in options if (value := option(row)) is not None), None)
        case exp.Case():
            return _case(node, resolve)
        case exp.Cast() | exp.TryCast():
            return _cast(node, resolve)
    return None


def _case(node: exp.Case, resolve: Resolve) -> Value:
    subject = node.this
    branches = []
    for branch in node.args.get("ifs", ()):
        condition = branch.this if subject is None else exp.EQ(this=subject.copy(), expression=branch.this.copy())
        branches.append((compiled(condition, resolve), compiled(branch.args["true"], resolve)))
    otherwise = compiled(node.args.get("default") or exp.Null(), resolve)

    def chosen(row: Row) -> Any:
        for condition, result in branches:
            if _truth(condition(row)):
                return result(row)
        return otherwise(row)

    return chosen


def _cast(node: exp.Cast | exp.TryCast, resolve: Resolve) -> Value:
    inner, kind = compiled(node.this, resolve), node.to.this
    if kind in exp.DataType.TEXT_TYPES:
        return lambda row: _as_text(inner(row))
    if kind in exp.DataType.FLOAT_TYPES:
        return lambda row: _applied(float, inner(row))
    raise unsupported(node, "casts to a type other than text and DOUBLE")


def _as_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    raise ValueError(f"{value!r} has no one text")
