"""The part of `headwater check` about streams: what their lint needs to know about the rest of a project."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headwater.config import Config
    from headwater.schemas.schema import Schema
    from headwater.schemas.validator import Validator
    from headwater.streams.lint import Finding
    from headwater.streams.registry import StreamRegistry

# A walk through two expressions at once that has seen so many pairs of states is given up.
PAIRS_MAX = 20_000
NAME_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789._-ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def findings(
    config: Config, streams: StreamRegistry, titles: Mapping[str, Sequence[str]], validator: Validator
) -> list[Finding]:
    """What the lint finds in a project whose schemas have these titles (title → URIs). Raises ConfigInvalid."""
    from headwater.streams.files import OWNERS_FILE, SERVICES_FILE, read_names
    from headwater.streams.lint import Surroundings, lint

    directory = config.path(config.streams.path)
    around = Surroundings(
        schemas={title: _schemas(uris, validator) for title, uris in titles.items()} or None,
        services=read_names(directory / SERVICES_FILE),
        owners=read_names(directory / OWNERS_FILE),
        readable=_readable(config, streams),
        name_in_both=name_in_both,
    )
    return lint(streams.layers, around)


def name_in_both(first: str, second: str) -> str | None:
    """The shortest name of a stream that two families (`/regex/`) are both found in; None where there is none.

    Raises ValueError where that cannot be told: flags, back-references, or too large a search.
    """
    from headwater.schemas.compatibility.expressions import automaton

    bodies = [name[1:].rpartition("/") for name in (first, second)]
    one, other = (automaton(body) if not flags else None for body, _, flags in bodies)
    if one is None or other is None:
        raise ValueError("not a plain regular expression")
    start = (one.start, other.start)
    seen, frontier = {start}, [(start, "")]
    while frontier:
        reached = []
        for (left, right), name in frontier:
            if name and one.accepts(left) and other.accepts(right):
                return name
            for character in NAME_CHARACTERS:
                pair = (one.step(left, ord(character)), other.step(right, ord(character)))
                if pair[0] and pair[1] and pair not in seen:
                    seen.add(pair)
                    reached.append((pair, name + character))
        if len(seen) > PAIRS_MAX:
            raise ValueError("too large a search")
        frontier = reached
    return None


def _schemas(uris: Sequence[str], validator: Validator) -> list[Schema]:
    """The newest version last."""
    return [validator.compile(uri).schema for uri in sorted(uris, key=_version)]


def _version(uri: str) -> tuple[int, ...]:
    parts = uri.rpartition("/")[2].split(".")
    return tuple(int(part) if part.isdecimal() else -1 for part in parts)


def _readable(config: Config, streams: StreamRegistry) -> frozenset[str]:
    allowed = config.consumption.allowed_streams
    aliases = config.consumption.stream_aliases
    names = (
        {stream.name for stream in streams.entries()}
        if allowed is None
        else {*allowed, *(aliases.get(one, one) for one in allowed)}
    )
    return frozenset(names)
