"""Whether two families of streams have a name in common, found by walking through both expressions at once."""

from __future__ import annotations

from headwater.schemas.compatibility.expressions import automaton

# The search is abandoned after this many pairs of states.
PAIRS_MAX = 20_000
NAME_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789._-ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def name_in_both(first: str, second: str) -> str | None:
    """The shortest stream name that both families (`/regex/`) match; None if there is none.

    Raises ValueError if that cannot be determined: flags, back-references, or too large a search.
    """
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
