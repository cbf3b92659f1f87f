"""Keeps the collector of cycles from looking, again and again, at the very many objects that some work makes."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any, TypeVar

Result = TypeVar("Result")


def uncollected(work: Callable[..., Result], *arguments: Any) -> Result:
    """What `work` gives. Nobody else runs while the collector looks, so it waits until this work is over.

    Of several threads that do so at once, the first gives the collector its turn as soon as it has ended.
    """
    if not gc.isenabled():
        return work(*arguments)
    gc.disable()
    try:
        return work(*arguments)
    finally:
        gc.enable()
