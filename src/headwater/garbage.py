"""Keeps the garbage collector from examining, again and again, the very many objects that some work creates."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any, TypeVar

Result = TypeVar("Result")


def uncollected(work: Callable[..., Result], *arguments: Any) -> Result:
    """The result of `work`, with the garbage collector paused, because no other code runs while it collects.

    If several threads do so at once, the collector is enabled again as soon as the first has ended.
    """
    if not gc.isenabled():
        return work(*arguments)
    gc.disable()
    try:
        return work(*arguments)
    finally:
        gc.enable()
