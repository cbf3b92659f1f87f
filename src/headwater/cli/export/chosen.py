"""Which streams an export includes: the public ones, and with `--private` the others too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from headwater.cli.console import say

if TYPE_CHECKING:
    from headwater.platform import Platform
    from headwater.streams.stream import Stream


def private_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """The option `--private`, as the argument `private`."""
    meaning = "Include private streams, for a scraper of metrics that has an API key."
    return click.option("--private", is_flag=True, help=meaning)(function)


def exported_streams(platform: Platform, *, private: bool) -> Sequence[Stream]:
    """The streams and families to export; prints to standard error how many are left out."""
    from headwater.streams.visibility import Sight

    everything = platform.streams.entries()
    shown = platform.seen(Sight.DECLARED if private else Sight.PUBLIC).entries()
    left_out = len(everything) - len(shown)
    if left_out:
        say(f"Private streams left out: {left_out}. --private exports them too.")
    return shown
