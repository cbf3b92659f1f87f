"""Serves a stand-in for the wikis' API from the command line.

python -m headwater.testing.mediawiki pages.jsonl
python -m headwater.testing.mediawiki pages/ --rules rules.yaml --port 6500
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from headwater.errors import ConfigInvalid
from headwater.testing.mediawiki.rules import SECONDS_MAX, read_rules_file
from headwater.testing.mediawiki.serving import serving
from headwater.testing.mediawiki.stand_in import MediaWikiStandIn, StandInSettings

DEFAULTS = StandInSettings()


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when it was stopped by a signal, 2 when a file is wrong or the port is taken."""
    given = _parser().parse_args(arguments)
    settings = StandInSettings(
        links_per_answer=given.links_per_answer,
        high_limits=given.high_limits,
        requires_user_agent=not given.any_user_agent,
        latency_seconds=given.latency_ms / 1_000,
        result_bytes_max=given.result_bytes_max,
        requests_kept_max=given.requests_kept_max,
    )
    try:
        rules = read_rules_file(given.rules) if given.rules else ()
        stand_in = MediaWikiStandIn.read(*given.pages, rules=rules, settings=settings)
        asyncio.run(_serve(stand_in, given.port))
    except ConfigInvalid as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(f"Port {given.port} of the loopback address cannot be used: {error.strerror}.", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m headwater.testing.mediawiki",
        description="Serve the web API of wikis on the loopback address, from files, with failures by rules.",
    )
    parser.add_argument("pages", nargs="*", type=Path, help="files of rows (.jsonl, .jsonl.gz) or directories of them")
    parser.add_argument("--rules", type=Path, help="a YAML or JSON file of rules")
    parser.add_argument("--port", type=_Whole(0, 65_535), default=0, help="the port (default 0: a free one)")
    parser.add_argument("--latency-ms", type=_Whole(0, SECONDS_MAX * 1_000), default=0, help="how late answers are")
    parser.add_argument(
        "--links-per-answer",
        type=_Whole(1, 500),
        default=DEFAULTS.links_per_answer,
        help=f"links in one answer (default {DEFAULTS.links_per_answer})",
    )
    parser.add_argument(
        "--result-bytes-max",
        type=_Whole(1, 1_073_741_824),
        default=DEFAULTS.result_bytes_max,
        help=f"the largest answer (default {DEFAULTS.result_bytes_max})",
    )
    parser.add_argument(
        "--requests-kept-max",
        type=_Whole(1, 10_000_000),
        default=DEFAULTS.requests_kept_max,
        help=f"requests in the log (default {DEFAULTS.requests_kept_max})",
    )
    parser.add_argument("--high-limits", action="store_true", help="500 ids in a request in place of 50")
    parser.add_argument("--any-user-agent", action="store_true", help="answer requests without a User-Agent, too")
    return parser


class _Whole:
    """A whole number in a range, for argparse."""

    def __init__(self, least: int, most: int) -> None:
        self._least = least
        self._most = most

    def __call__(self, text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        if not self._least <= number <= self._most:
            raise argparse.ArgumentTypeError(f"must be from {self._least} to {self._most}, not {number}")
        return number


async def _serve(stand_in: MediaWikiStandIn, port: int) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    async with serving(stand_in, port) as address:
        print(f"serving {address}", flush=True)
        for domain, revisions in stand_in.count().items():
            print(f"{domain}: {revisions} revisions", flush=True)
        await stopped.wait()


if __name__ == "__main__":
    sys.exit(main())
