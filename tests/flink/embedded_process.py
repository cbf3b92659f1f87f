"""Runs the jobs of the project embedded until it is killed: a process of its own, for tests that do so.

Arguments: the address of the log, and the folder of the jobs' state. Prints a line when the jobs run.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from flink.corpus import config_of
from headwater.platform import build


async def main() -> None:
    platform = build(config_of(sys.argv[1], Path(sys.argv[2])))
    await platform.start()
    print("running", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
