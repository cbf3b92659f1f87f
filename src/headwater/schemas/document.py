"""Reads the bytes of a schema document as plain JSON values, and refuses, with its line, what JSON cannot represent.

How this works: libyaml turns the text into events, which are counted while they stream by, so that depth is known
before anything recursive runs. The composed node graph may share nodes through aliases; its size *as a tree* is
computed without expanding it, and a document whose tree is too large (the "billion laughs") or infinite is refused, as
are duplicate keys, tags, and numbers that no double holds. JSON goes through Python's parser, which keeps whole numbers
of any size, and is scanned into the same nodes only if something is wrong with it. Scalars follow YAML 1.2's core
schema, as JSON does: `no` is text and a date is text.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, ClassVar, NoReturn

import yaml

from headwater.errors import SchemaInvalid
from headwater.schemas.json_nodes import json_nodes
from headwater.schemas.limits import ValidationLimits, children, depth_exceeds

_Parser: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _CoreLoader(_Parser):  # type: ignore[misc]
    """PyYAML's safe loader with the scalars of YAML 1.2."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}


_TAG = "tag:yaml.org,2002:"
_SCALARS = (
    (f"{_TAG}bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    (f"{_TAG}int", r"^[-+]?(?:0|[1-9][0-9]*|0x[0-9a-fA-F]+|0o[0-7]+)$", "-+0123456789"),
    (
        f"{_TAG}float",
        r"^[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)$",
        "-+.0123456789",
    ),
    # Numbers of YAML that JSON lacks: recognised, so that they are refused instead of read as text.
    (f"{_TAG}float", r"^(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$", "-+."),
    (f"{_TAG}null", r"^(?:~|null|Null|NULL|)$", "~nN"),
    (f"{_TAG}merge", r"^<<$", "<"),
)
for _tag, _pattern, _first in _SCALARS:
    _CoreLoader.add_implicit_resolver(_tag, re.compile(_pattern), list(_first) + ([""] if "null" in _tag else []))
# The allowed tags: the types that JSON has.
_PLAIN_TAGS = frozenset(f"{_TAG}{name}" for name in ("str", "int", "float", "bool", "null", "map", "seq", "merge"))
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_WORDS, _NOTHING = ("true", "false"), ("", "~", "null")
_BASED = re.compile(r"[-+]?0[xo]")


def _integer(loader: Any, node: Any) -> int:
    text: str = loader.construct_scalar(node)
    return int(text, 0) if _BASED.match(text) else int(text)


def _float(loader: Any, node: Any) -> float:
    return float(loader.construct_scalar(node))


_CoreLoader.add_constructor("tag:yaml.org,2002:int", _integer)
_CoreLoader.add_constructor("tag:yaml.org,2002:float", _float)


def parse_document(data: bytes, where: str, limits: ValidationLimits) -> Any:
    """JSON or YAML bytes as plain values (dict, list, str, int, float, bool, None); whole numbers keep every digit.

    Raises SchemaInvalid, with line and column if known. `where` is the file as messages name it.
    """
    if len(data) > limits.document_bytes_max:
        raise SchemaInvalid(f"The schema at {where} is larger than {limits.document_bytes_max} bytes.")
    text = _text(data, where)
    is_json, value = _parse_json(text, where, limits) if text.lstrip()[:1] in ("{", "[") else (False, None)
    if not is_json:
        value = _parse_yaml(text, where, limits)
    if depth_exceeds(value, limits.document_depth_max):
        raise SchemaInvalid(f"The schema at {where} is nested deeper than {limits.document_depth_max} levels.")
    if _tree_size(value, limits.document_nodes_max) > limits.document_nodes_max:
        raise SchemaInvalid(f"The schema at {where} has more than {limits.document_nodes_max} values.")
    return value


def compose_document(data: bytes, limits: ValidationLimits) -> Any:
    """The nodes of a document with their marks, for finding the place of something in it; None if it has none.

    This refuses only what cannot be walked: too deep, too large, neither JSON nor YAML.
    """
    try:
        text = _text(data, "")
        if text.lstrip()[:1] in ("{", "["):
            try:
                return json_nodes(text)
            except ValueError:
                pass
        _check_events(text, "", limits)
        loader = _CoreLoader(text)
        try:
            return loader.get_single_node()
        finally:
            loader.dispose()
    except (SchemaInvalid, yaml.YAMLError, ValueError, RecursionError):
        return None


def _text(data: bytes, where: str) -> str:
    """UTF-8, with or without a byte order mark."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise SchemaInvalid(
            "The file is not UTF-8 text.", file=where, line=line, column=column, hint="Save it as UTF-8."
        ) from None


class _OddJsonError(Exception):
    """A fault in JSON text whose place is then found in its nodes."""


def _parse_json(text: str, where: str, limits: ValidationLimits) -> tuple[bool, Any]:
    """Whether the text is JSON (it may be YAML in its flow style), and its value."""
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_json_integer,
            parse_float=_json_float,
            parse_constant=_odd,
        )
        if _SURROGATE_ESCAPE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
        return True, value
    except (_OddJsonError, UnicodeEncodeError):
        try:
            _check_tree(json_nodes(text), where, limits)
        except RecursionError:
            raise SchemaInvalid(f"The schema at {where} is nested too deeply.") from None
        except ValueError:
            # What follows it is not JSON either.
            return False, None
        raise SchemaInvalid(f"The schema at {where} contains a value that JSON cannot represent.") from None
    except (ValueError, RecursionError):
        return False, None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise _OddJsonError
    return value


def _odd(_: str) -> NoReturn:
    raise _OddJsonError


def _json_integer(text: str) -> int:
    return int(text) if len(text) < 300 or _is_finite_integer(text) else _odd(text)


def _json_float(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _odd(text)


def _parse_yaml(text: str, where: str, limits: ValidationLimits) -> Any:
    try:
        _check_events(text, where, limits)
        loader = _CoreLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _check_tree(node, where, limits)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = error.problem or error.context or "it cannot be read"
        at = text.splitlines()[mark.line][: mark.column + 1] if mark and mark.line < len(text.splitlines()) else ""
        hint = "Indent with spaces: YAML does not allow tabs there." if "\t" in at else None
        raise _not_readable(f"is neither JSON nor YAML: {reason}", where, mark, hint) from None
    except yaml.reader.ReaderError as error:
        line = text.encode()[: error.position].count(b"\n") + 1
        reason = " ".join(str(error.reason).split())
        raise SchemaInvalid(f"The file is neither JSON nor YAML: {reason}.", file=where, line=line) from None
    except (yaml.YAMLError, ValueError, TypeError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise SchemaInvalid(f"The schema at {where} is neither JSON nor YAML: {reason}.") from None


def _not_readable(what: str, where: str, mark: Any, hint: str | None = None) -> SchemaInvalid:
    """The error about one place of a file; `what` continues after "The file …"."""
    line, column = (mark.line + 1, mark.column + 1) if mark else (None, None)
    return SchemaInvalid(f"The file {what}.", file=where, line=line, column=column, hint=hint)


def _check_events(text: str, where: str, limits: ValidationLimits) -> None:
    depth = 0
    for count, event in enumerate(yaml.parse(text, Loader=_CoreLoader)):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > limits.document_depth_max:
            raise SchemaInvalid(f"The schema at {where} is nested deeper than {limits.document_depth_max} levels.")
        if count > 4 * limits.document_nodes_max:
            raise SchemaInvalid(f"The schema at {where} has more than {limits.document_nodes_max} values.")


def _check_tree(root: Any, where: str, limits: ValidationLimits) -> None:
    """Refuse a node graph that is infinite or too large as a tree, or contains what JSON lacks, before it is read."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()

    def size(node: Any) -> int:
        known = sizes.get(id(node))
        if known is not None:
            return known
        if id(node) in open_nodes:
            raise _not_readable("contains itself through a YAML alias", where, node.start_mark)
        open_nodes.add(id(node))
        total = 1
        if node.tag not in _PLAIN_TAGS:
            raise _tagged(node, where)
        if isinstance(node, yaml.MappingNode):
            _check_keys(node, where)
            total += sum(size(key) + size(value) for key, value in node.value)
        elif isinstance(node, yaml.SequenceNode):
            total += sum(size(item) for item in node.value)
        elif node.tag != f"{_TAG}str" or not node.value.isascii():
            _check_scalar(node, where)
        open_nodes.discard(id(node))
        sizes[id(node)] = total
        return total

    if size(root) > limits.document_nodes_max:
        raise SchemaInvalid(
            f"The schema at {where} has more than {limits.document_nodes_max} values once aliases are expanded."
        )


def _tagged(node: Any, where: str) -> SchemaInvalid:
    shown = node.tag.replace(_TAG, "!!")
    hint = "Write the value as in JSON: text in quotes, a list, or a mapping."
    return _not_readable(f'has the tag "{shown}", which JSON does not have', where, node.start_mark, hint)


def _check_scalar(node: Any, where: str) -> None:
    """Numbers must be finite doubles, including whole numbers: readers of JSON have no others; text must be Unicode."""
    name, text = node.tag.removeprefix(_TAG), node.value
    if name == "str":
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise _not_readable(
                "has half of a surrogate pair in a text, which is not a character", where, node.start_mark
            )
        return
    try:
        if name == "int":
            is_finite = _is_finite_integer(text)
        elif name == "float":
            is_finite = math.isfinite(float(re.sub(r"\.(inf|nan)", r"\1", text.lower())))
        elif name == "merge" or text.lower() in (_WORDS if name == "bool" else _NOTHING):
            return
        else:
            raise ValueError
    except (ValueError, OverflowError):
        what = f"has {text[:40]!r}, which does not match its tag"
        raise _not_readable(what, where, node.start_mark) from None
    if not is_finite:
        shown = text if len(text) <= 40 else f"{text[:20]}… ({len(text)} digits)"
        hint = "Write a number below 1.8e308, or put the value in quotes if it is meant as text."
        raise _not_readable(f"has the number {shown}, which JSON cannot represent", where, node.start_mark, hint)


def _is_finite_integer(text: str) -> bool:
    """Whether a whole number is within the range of doubles. Raises ValueError if the text is not one."""
    if not _BASED.match(text):
        return math.isfinite(float(text)) and (len(text) > 300 or int(text) is not None)
    try:
        return math.isfinite(float(int(text, 0)))
    except OverflowError:
        return False


def _check_keys(node: Any, where: str) -> None:
    seen: dict[str, Any] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _not_readable("has a mapping key that is not text", where, key.start_mark)
        if key.tag not in _PLAIN_TAGS:
            raise _tagged(key, where)
        if key.value in seen:
            first = seen[key.value]
            raise _not_readable(
                f'has the key "{key.value}" twice: here and on line {first.line + 1}',
                where,
                key.start_mark,
                "Remove one of the two; readers differ in which they use.",
            )
        seen[key.value] = key.start_mark
        if key.tag != f"{_TAG}merge":
            # Keys are always text in JSON: `1: …` and `true: …` become "1" and "true", as in JavaScript.
            key.tag = f"{_TAG}str"


def _tree_size(value: Any, stop: int) -> int:
    total, stack = 0, [value]
    while stack and total <= stop:
        total += 1
        stack.extend(children(stack.pop()))
    return total
