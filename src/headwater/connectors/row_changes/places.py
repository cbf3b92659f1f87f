"""The tokens of a batch of deliveries, of the places after each of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol


class _HasToken(Protocol):
    """A place in the log of a database."""

    def token(self) -> str:
        """The token to resume there."""
        ...


def tokens(before: _HasToken, places: Sequence[_HasToken], after: _HasToken) -> Callable[[int], str]:
    """The token after a number of deliveries; after the last one it includes following changes that gave none.

    The function raises ValueError for more deliveries than there are.
    """

    def token_after(count: int) -> str:
        if not 0 <= count <= len(places):
            raise ValueError(f"The batch has {len(places)} deliveries, not {count}.")
        if count == len(places):
            return after.token()
        return places[count - 1].token() if count else before.token()

    return token_after
