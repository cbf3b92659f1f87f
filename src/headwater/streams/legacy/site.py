"""Merges legacy settings by site: `default`, `X` replaces, `+X` merges; X is a site or a group (streams.md 2.1).

Only the importer and the exporter of legacy files use it; Headwater's own rule is in merge.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

DEFAULT = "default"


def value_for(setting: Mapping[str, Any], site: str, groups: Sequence[str] = ()) -> Any:
    """The value of a setting on `site`, which is in `groups` (the first has precedence). None if nothing applies."""
    if site in setting:
        return setting[site]
    merged = setting.get(f"+{site}")
    for group in groups:
        if group in setting:
            return merge(merged, setting[group])
        if f"+{group}" in setting:
            merged = merge(merged, setting[f"+{group}"])
    return merge(merged, setting[DEFAULT]) if DEFAULT in setting else merged


def merge(high: Any, low: Any) -> Any:
    """`high` over `low`: containers recurse, items of lists append; a false or null does not replace the value in
    `low`.
    """
    if not (isinstance(high, (dict, list)) and isinstance(low, (dict, list))):
        return low if high is None else high
    merged = _numbered(high)
    for key, value in _numbered(low).items():
        present = merged.get(key)
        if present is None:
            # A null of `high` counts as absent, but keeps its place.
            merged[key] = value
        elif isinstance(present, (dict, list)) and isinstance(value, (dict, list)):
            merged[key] = merge(present, value)
        elif isinstance(key, int):
            merged[max(number for number in merged if isinstance(number, int)) + 1] = value
        elif present is False:
            merged[key] = value
    if list(merged) == list(range(len(merged))) and (merged or isinstance(high, list)):
        return list(merged.values())
    return {str(key): value for key, value in merged.items()}


def _numbered(container: dict[Any, Any] | list[Any]) -> dict[str | int, Any]:
    if isinstance(container, list):
        return dict(enumerate(container))
    return {
        int(key) if str(key).isdecimal() and str(int(key)) == str(key) else key: container[key] for key in container
    }
