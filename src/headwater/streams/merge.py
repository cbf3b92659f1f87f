"""The one merge rule of stream files: mappings merge, everything else replaces, `unset` removes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Path = tuple[str, ...]


def lay_over(defaults: Any, document: Any) -> Any:
    """`document` merged over `defaults`; null, false and [] are values like others. Neither argument is changed."""
    if not (isinstance(defaults, dict) and isinstance(document, dict)):
        return document
    merged = {name: lay_over(value, document[name]) if name in document else value for name, value in defaults.items()}
    return merged | {name: value for name, value in document.items() if name not in defaults}


def without(document: Mapping[str, Any], dotted: str) -> dict[str, Any]:
    """`document` without the key at a dotted path, if present. Keys may contain dots: the longest match is taken."""
    path = find(document, dotted)
    return _without(document, path) if path else dict(document)


def find(document: Any, dotted: str) -> Path | None:
    """The steps to the key at a dotted path, or None if there is none."""
    if not isinstance(document, Mapping):
        return None
    if dotted in document:
        return (dotted,)
    for name in sorted(document, key=len, reverse=True):
        if dotted.startswith(f"{name}.") and (below := find(document[name], dotted[len(name) + 1 :])):
            return (name, *below)
    return None


def leaves(document: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every value that is not a mapping (or is an empty one), and the steps to it."""
    if isinstance(document, Mapping) and (document or not path):
        for name, value in document.items():
            yield from leaves(value, (*path, name))
    else:
        yield path, document


def _without(document: Mapping[str, Any], path: Path) -> dict[str, Any]:
    first, *rest = path
    if not rest:
        return {name: value for name, value in document.items() if name != first}
    return {name: _without(value, tuple(rest)) if name == first else value for name, value in document.items()}
