"""Events of mobile apps: which streams of a project have them, and what of an event may be kept for everybody.

How this works: a field is kept with its type, under its path, in one of three mappings, so that all events have the
same columns whatever their schemas are. Identifiers of installations and sessions, and what the stream calls personal,
are left out wherever they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

TITLES = "analytics/mobile_apps/"
# Who somebody is, or what ties events together that would tell it.
IDENTIFIERS = frozenset(
    {"app_install_id", "app_session_id", "session_token", "selection_token", "user_text", "user_id", "user_name"}
)
ENVELOPE = frozenset({"$schema", "meta", "dt", "client_dt", "http"})
TEXT_CHARS_MAX = 10_000


@dataclass(frozen=True)
class AppStream:
    """A stream with events of apps. `personal`: the dotted paths of fields that its declaration calls personal."""

    name: str
    schema_title: str
    personal: frozenset[str] = frozenset()


def app_streams(folder: Path) -> dict[str, AppStream]:
    """By name, the streams of a folder of declarations whose schemas are of mobile apps."""
    found = {}
    for path in sorted(folder.rglob("*.yaml")):
        declared = yaml.safe_load(path.read_text("utf-8"))
        title = declared.get("schema_title") if isinstance(declared, Mapping) else None
        if isinstance(title, str) and title.startswith(TITLES) and isinstance(name := declared.get("stream"), str):
            personal = (declared.get("privacy") or {}).get("pii_fields") or ()
            found[name] = AppStream(name, title, frozenset(personal))
    return found


def kept_of(event: Mapping[str, Any], stream: AppStream) -> dict[str, dict[str, Any]]:
    """The fields of an event that may be kept, as `texts`, `numbers` and `flags` by path; lists are texts of JSON."""
    kept: dict[str, dict[str, Any]] = {"texts": {}, "numbers": {}, "flags": {}}
    for path, value in _leaves(event, stream.personal, ""):
        if isinstance(value, bool):
            kept["flags"][path] = value
        elif isinstance(value, int | float):
            kept["numbers"][path] = float(value)
        elif isinstance(value, list):
            kept["texts"][path] = json.dumps(_without(value), ensure_ascii=False)[:TEXT_CHARS_MAX]
        elif value is not None:
            kept["texts"][path] = str(value)[:TEXT_CHARS_MAX]
    return kept


def _leaves(holder: Mapping[str, Any], personal: frozenset[str], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in holder.items():
        path = f"{prefix}{name}"
        if name in IDENTIFIERS or path in personal or (not prefix and name in ENVELOPE):
            continue
        if isinstance(value, Mapping):
            yield from _leaves(value, personal, f"{path}.")
        else:
            yield path, value


def _without(value: Any) -> Any:
    """A value of a list, without identifiers in it."""
    if isinstance(value, list):
        return [_without(one) for one in value]
    if isinstance(value, Mapping):
        return {name: _without(one) for name, one in value.items() if name not in IDENTIFIERS}
    return value
