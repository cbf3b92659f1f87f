"""Configures the Python interpreter for processes that serve or run jobs for a long time."""

from __future__ import annotations

import gc
import sys

# The event loop waits this long for a computing thread, several times per request. Python's default of 5 ms adds up.
SWITCH_SECONDS = 0.001


def prepare_interpreter() -> None:
    """Configure the interpreter for serving: the event loop waits little for threads, and rarely for the collector."""
    sys.setswitchinterval(SWITCH_SECONDS)
    # Existing objects stay; and events create much garbage but few cycles, so frequent collections would find nothing.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
