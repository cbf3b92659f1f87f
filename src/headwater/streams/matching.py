"""The rules of the legacy stream configuration: how defaults merge, names match and topics follow.

The contract is streams.md, sections 1.1 to 1.4; each rule here is kept because existing files and clients depend on it,
also if it surprises (lists merge by index; a family's expression is searched, not matched from end to end).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any

from headwater.patterns import compiled

FAMILY_CHARS_MAX = 500
NAME_CHARS_MAX = 249

_FLAGS = {"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL, "x": re.VERBOSE, "u": re.NOFLAG}
_QUOTED = frozenset(".\\+*?[^]$(){}=!<>|:-#")


def merge(defaults: Any, entry: Any) -> Any:
    """`entry` merged over `defaults`: containers recurse, anything else (also null and false) replaces.

    Lists merge by index, so an entry cannot shorten a default list: only null removes it.
    """
    if not (isinstance(defaults, (dict, list)) and isinstance(entry, (dict, list))):
        return entry
    over, under = _keyed(entry), _keyed(defaults)
    merged = {key: merge(value, over[key]) if key in over else value for key, value in under.items()}
    merged |= {key: value for key, value in over.items() if key not in under}
    lists = isinstance(defaults, list) or isinstance(entry, list)
    if lists and list(merged) == [str(index) for index in range(len(merged))]:
        # An empty list and an empty map are the same thing to the original; keep the kind that has content.
        return list(merged.values()) if merged or isinstance(entry, list) else {}
    return merged


def is_family(name: str) -> bool:
    """Whether a name is a regex between slashes."""
    return name.startswith("/")


@functools.lru_cache(maxsize=4096)
def compile_family(name: str) -> re.Pattern[str]:
    """The pattern of `/regex/flags`, to be searched for in a stream name. Raises ValueError with the reason."""
    if len(name) > FAMILY_CHARS_MAX:
        raise ValueError(f"is longer than {FAMILY_CHARS_MAX} characters")
    end = _closing_slash(name)
    if end < 0:
        raise ValueError("has no closing slash")
    flags = re.NOFLAG
    for letter in name[end + 1 :]:
        if letter not in _FLAGS:
            raise ValueError(f'has the unknown flag "{letter}"')
        flags |= _FLAGS[letter]
    try:
        return compiled(name[1:end], flags)
    except re.error as error:
        raise ValueError(f"is not a regular expression: {error}") from None


def matches(entry_name: str, name: str) -> bool:
    """Whether an entry is about the stream `name`: the names are equal, or the family's regex is found in it."""
    if not is_family(entry_name):
        return entry_name == name
    return len(name) <= NAME_CHARS_MAX and compile_family(entry_name).search(name) is not None


def topics(name: str, settings: Mapping[str, Any], target: str | None = None) -> Any:
    """The topics of an entry, or of the member `target` of a family: declared ones verbatim, else prefix + name."""
    if settings.get("topics") is not None:
        return settings["topics"]
    # "0" counts as absent to the original.
    stream = target if target not in (None, "", "0") else name
    prefixes = settings.get("topic_prefixes")
    if prefixes is None:
        return [stream]
    if isinstance(prefixes, Mapping):
        prefixes = list(prefixes.values())
    if not is_family(stream):
        return [f"{prefix}{stream}" for prefix in prefixes]
    body = stream.strip("/")
    anchor = "^" if body.startswith("^") else ""
    choice = "|".join(_quote(str(prefix)) for prefix in prefixes)
    return [f"/{anchor}({choice}){body.removeprefix('^')}/"]


def entry(name: str, settings: Mapping[str, Any], target: str | None = None) -> dict[str, Any]:
    """The entry as the legacy API shows it: its merged settings, then `stream`, then `topics`."""
    answered = dict(settings)
    answered["stream"] = name
    answered["topics"] = topics(name, settings, target)
    return answered


def check_entry(name: str, settings: Mapping[str, Any]) -> tuple[tuple[str, ...], str] | None:
    """What the original refuses at start: (path of the key, sentence), or None if the entry is valid."""
    if is_family(name):
        try:
            compile_family(name)
        except ValueError as error:
            return (), f'the stream family "{name}" {error}.'
    for key in ("topic_prefixes", "topics"):
        if not isinstance(settings.get(key), (list, dict, type(None))):
            return (key,), f"{key} must be a list or null."
    return None


def _keyed(container: dict[str, Any] | list[Any]) -> dict[str, Any]:
    if isinstance(container, dict):
        return container
    return {str(index): value for index, value in enumerate(container)}


def _closing_slash(name: str) -> int:
    position = 1
    while position < len(name):
        if name[position] == "/":
            return position
        position += 2 if name[position] == "\\" else 1
    return -1


def _quote(text: str) -> str:
    return "".join("\\" + character if character in _QUOTED else character for character in text)
