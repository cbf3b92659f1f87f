"""Pages of JADE: what people say about a revision or a difference, as proposals of which one is preferred."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

TITLE = re.compile(r"Jade:(Diff|Revision)/([1-9][0-9]{0,18})")


class JadeInvalid(ValueError):
    """The content of a page is not as JADE has it."""

    error_type = "JADE_INVALID"


def entity_of(title: str) -> tuple[str, int] | None:
    """What a page is about: `diff` or `revision`, and its number; None for any other page."""
    found = TITLE.fullmatch(title.replace("_", " "))
    return None if found is None else (found[1].lower(), int(found[2]))


def labels_of(content: str) -> dict[str, dict[str, Any]]:
    """By facet the preferred `label`, and how many endorsements each proposal has, in their order.

    Raises JadeInvalid with all that is wrong.
    """
    try:
        decoded = json.loads(content)
    except ValueError:
        raise JadeInvalid("not JSON") from None
    facets = decoded.get("facets") if isinstance(decoded, Mapping) else None
    if not isinstance(facets, Mapping):
        raise JadeInvalid("no object `facets`")
    labels, wrong = {}, []
    for facet, found in sorted(facets.items()):
        try:
            labels[facet] = _label(found)
        except JadeInvalid as error:
            wrong.append(f"{facet}: {error}")
    if wrong:
        raise JadeInvalid("; ".join(wrong))
    return labels


def _label(facet: Any) -> dict[str, Any]:
    proposals = facet.get("proposals") if isinstance(facet, Mapping) else None
    if not isinstance(proposals, list) or not all(isinstance(one, Mapping) for one in proposals):
        raise JadeInvalid("no list `proposals`")
    endorsements = [_endorsements(one) for one in proposals]
    preferred = [one for one in proposals if one.get("preferred") is True]
    wrong = [] if len(preferred) == 1 else [f"{len(preferred)} preferred proposals, there has to be one"]
    wrong += _twice([user for users in endorsements for user in users])
    if wrong:
        raise JadeInvalid("; ".join(wrong))
    label = preferred[0].get("labeldata")
    if not isinstance(label, Mapping):
        raise JadeInvalid("the preferred proposal has no object `labeldata`")
    return {"label": dict(label), "endorsements": [len(users) for users in endorsements]}


def _endorsements(proposal: Mapping[str, Any]) -> list[str]:
    found = proposal.get("endorsements", [])
    if not isinstance(found, list):
        raise JadeInvalid("`endorsements` is no list")
    return list(_authors(found))


def _authors(endorsements: list[Any]) -> Iterator[str]:
    """Accounts by number; people without one by their address."""
    for endorsement in endorsements:
        author = endorsement.get("author") if isinstance(endorsement, Mapping) else None
        user = next((author[name] for name in ("id", "ip") if name in author), None) if author else None
        if not isinstance(user, int | str) or isinstance(user, bool):
            raise JadeInvalid("an endorsement without an author")
        yield str(user)


def _twice(users: list[str]) -> list[str]:
    return [f"user {user} endorses {count} times" for user, count in sorted(Counter(users).items()) if count > 1]
