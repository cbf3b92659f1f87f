"""Versions of rows as whole numbers, for stores that compare nothing else."""

from __future__ import annotations

import struct
from typing import Any

from headwater.errors import EventMalformed
from headwater.times import time_us

# The first moment of the year 1 is 0.
_YEAR_1_US = 62_135_596_800_000_000


def whole_version(version: Any, *, path: str) -> int:
    """A number from 0 to 2**63 - 1; of two versions of one type the newer one never has the smaller number.

    Whole numbers are themselves; of times it is the microseconds since the year 1. Of other numbers one bit in 53 is
    lost. Raises EventMalformed for a negative whole number and for a text that is no time; `path` names it.
    """
    if isinstance(version, str):
        moment = time_us(version)
        if moment is None or moment < -_YEAR_1_US:
            raise EventMalformed(f"{path} is no time: {version!r:.100}, and a text is compared as one here.")
        return moment + _YEAR_1_US
    if isinstance(version, float):
        (bits,) = struct.unpack(">q", struct.pack(">d", version))
        return int((bits + 2**63 if bits >= 0 else ~bits) >> 1)
    if version < 0:
        raise EventMalformed(f"{path} is negative: {version}; a version is at least 0 here.")
    return int(version)
