"""Bytes of a schema document into plain JSON values, refusing those that are too large, too deep or self-multiplying.

How this works: libyaml turns the text into events, which are counted while they stream by, so that depth is known
before anything recursive runs. The composed node graph may share nodes through aliases; its size *as a tree* is
computed without expanding it, and a document whose tree is too large (the "billion laughs") or infinite is refused.
Scalars follow YAML 1.2's core schema, as JSON does: `no` is text and a date is text.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

import orjson
import yaml

from headwater.errors import SchemaInvalid
from headwater.schemas.limits import ValidationLimits, children, depth_exceeds

_Parser: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _CoreLoader(_Parser):  # type: ignore[misc]
    """PyYAML's safe loader with the scalars of YAML 1.2."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}


_SCALARS = (
    ("tag:yaml.org,2002:bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("tag:yaml.org,2002:int", r"^[-+]?(?:0|[1-9][0-9]*|0x[0-9a-fA-F]+|0o[0-7]+)$", "-+0123456789"),
    (
        "tag:yaml.org,2002:float",
        r"^[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)$",
        "-+.0123456789",
    ),
    ("tag:yaml.org,2002:null", r"^(?:~|null|Null|NULL|)$", "~nN"),
    ("tag:yaml.org,2002:merge", r"^<<$", "<"),
)
for _tag, _pattern, _first in _SCALARS:
    _CoreLoader.add_implicit_resolver(_tag, re.compile(_pattern), list(_first) + ([""] if "null" in _tag else []))


def _integer(loader: Any, node: Any) -> int:
    text: str = loader.construct_scalar(node)
    return int(text, 0) if re.search(r"0[xo]", text) else int(text)


def _float(loader: Any, node: Any) -> float:
    return float(loader.construct_scalar(node))


_CoreLoader.add_constructor("tag:yaml.org,2002:int", _integer)
_CoreLoader.add_constructor("tag:yaml.org,2002:float", _float)


def parse_document(data: bytes, where: str, limits: ValidationLimits) -> Any:
    """JSON or YAML bytes as plain values (dict, list, str, int, float, bool, None). Raises SchemaInvalid."""
    if len(data) > limits.document_bytes_max:
        raise SchemaInvalid(f"The schema at {where} is larger than {limits.document_bytes_max} bytes.")
    value = _parse_json(data) if data.lstrip()[:1] in (b"{", b"[") else None
    if value is None:
        value = _parse_yaml(data, where, limits)
    if depth_exceeds(value, limits.document_depth_max):
        raise SchemaInvalid(f"The schema at {where} is nested deeper than {limits.document_depth_max} levels.")
    if _tree_size(value, limits.document_nodes_max) > limits.document_nodes_max:
        raise SchemaInvalid(f"The schema at {where} has more than {limits.document_nodes_max} values.")
    return value


def _parse_json(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return None


def _parse_yaml(data: bytes, where: str, limits: ValidationLimits) -> Any:
    try:
        _check_events(data, where, limits)
        loader = _CoreLoader(data)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _check_tree(node, where, limits)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise SchemaInvalid(f"The schema at {where} is neither JSON nor YAML: {reason}.") from None


def _check_events(data: bytes, where: str, limits: ValidationLimits) -> None:
    depth = 0
    for count, event in enumerate(yaml.parse(data, Loader=_CoreLoader)):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > limits.document_depth_max:
            raise SchemaInvalid(f"The schema at {where} is nested deeper than {limits.document_depth_max} levels.")
        if count > 4 * limits.document_nodes_max:
            raise SchemaInvalid(f"The schema at {where} has more than {limits.document_nodes_max} values.")


def _check_tree(root: Any, where: str, limits: ValidationLimits) -> None:
    """Refuse a node graph that is endless or too large as a tree, before anything walks it as one."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()

    def size(node: Any) -> int:
        known = sizes.get(id(node))
        if known is not None:
            return known
        if id(node) in open_nodes:
            raise SchemaInvalid(f"The schema at {where} contains itself through a YAML alias.")
        open_nodes.add(id(node))
        total = 1
        if isinstance(node, yaml.MappingNode):
            _check_keys(node, where)
            total += sum(size(key) + size(value) for key, value in node.value)
        elif isinstance(node, yaml.SequenceNode):
            total += sum(size(item) for item in node.value)
        open_nodes.discard(id(node))
        sizes[id(node)] = total
        return total

    if size(root) > limits.document_nodes_max:
        raise SchemaInvalid(
            f"The schema at {where} has more than {limits.document_nodes_max} values once aliases are expanded."
        )


def _check_keys(node: Any, where: str) -> None:
    seen: set[str] = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise SchemaInvalid(f"The schema at {where} has a mapping key that is not text.")
        if key.value in seen:
            raise SchemaInvalid(
                f"The schema at {where} has the key {key.value!r} twice (line {key.start_mark.line + 1})."
            )
        if key.value != "<<":
            # Keys are always text in JSON: `1: …` and `true: …` become "1" and "true", as in JavaScript.
            key.tag = "tag:yaml.org,2002:str"
            seen.add(key.value)


def _tree_size(value: Any, stop: int) -> int:
    total, stack = 0, [value]
    while stack and total <= stop:
        total += 1
        stack.extend(children(stack.pop()))
    return total
