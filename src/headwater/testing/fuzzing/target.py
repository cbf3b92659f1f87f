"""What fuzz targets have in common: how long an input may take, and what a target without preparation needs."""

from __future__ import annotations

import contextlib

# From the network: a client must not delay others.
STRANGERS_SECONDS_MAX = 0.1
# From files: authors wait for the result, so the limit is higher.
AUTHORS_SECONDS_MAX = 5.0


class _CalledDirectly:
    """A target that needs nothing to be opened."""

    def opened(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()


class FromNetwork(_CalledDirectly):
    """A target that is called directly, with input from the network."""

    stall_seconds_max = STRANGERS_SECONDS_MAX


class FromFiles(_CalledDirectly):
    """A target that is called directly, with input from files."""

    stall_seconds_max = AUTHORS_SECONDS_MAX
