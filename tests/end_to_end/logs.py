"""Work inside the log of a project, for tests that run commands on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from headwater.config import load_config
from headwater.log.contract import Log
from headwater.platform import build


def in_log(project: Path, work: Callable[[Log], Coroutine[Any, Any, Any]]) -> Any:
    """What `work` answers, given the open log of the project."""

    async def running() -> Any:
        log = build(load_config(project)).log
        await log.open()
        try:
            return await work(log)
        finally:
            await log.close()

    return asyncio.run(running())
