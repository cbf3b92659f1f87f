"""What the clients of a campaign send: every order is a function of its feed and number, so none needs to be kept."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any
from uuid import UUID

from headwater.testing.whole_platform.project import order
from headwater.times import utc_text

SHOPS = 7
# Event times lie in the hours before the campaign, so that hours differ, some orders are late and all windows end.
OLDEST_SECONDS = 3 * 3600
NEWEST_SECONDS = 120
_FEED_SLOTS = 10_000_000


def identifier(feed: int, number: int) -> str:
    """The id of an order: UUIDs in one feed, other text in the next."""
    if feed % 2:
        return f"order/{feed}/{number}"
    return str(UUID(bytes=blake2b(b"%d/%d" % (feed, number), digest_size=16).digest()))


def is_refused(number: int) -> bool:
    """Whether the order violates its schema."""
    return number % 19 == 7


def order_of(feed: int, number: int, base_ms: int) -> dict[str, Any]:
    """The order; `base_ms` is when the campaign began."""
    spread = int.from_bytes(blake2b(b"%d-%d" % (feed, number), digest_size=6).digest())
    age = NEWEST_SECONDS + spread % (OLDEST_SECONDS - NEWEST_SECONDS)
    made = order(
        identifier(feed, number),
        utc_text(base_ms // 1000 * 1000 - age * 1000),
        f"shop{spread % SHOPS}",
        feed * _FEED_SLOTS + number,
        spread % 1000,
    )
    return made | {"slot": "none"} if is_refused(number) else made
