"""What tests of the intake share: a log that fails or waits on request."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from headwater.testing.faulty_log import FaultyLog


@pytest.fixture
async def log() -> AsyncIterator[FaultyLog]:
    log = FaultyLog()
    await log.open()
    yield log
    await log.close()
