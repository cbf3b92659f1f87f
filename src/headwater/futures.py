"""The outcome of work that its caller may have left."""

from __future__ import annotations

import asyncio
from typing import Any


def retrieve(future: asyncio.Future[Any]) -> None:
    """Count the error of a future that is done as seen: a callback, for `add_done_callback`.

    A caller that is cancelled while it waits never asks for the outcome, and asyncio would report the error as one that
    was never retrieved.
    """
    if not future.cancelled():
        future.exception()
