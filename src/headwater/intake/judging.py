"""From the texts of a request to the Gate's verdicts, in slices and in threads if a request takes long.

How this works: nearly all requests are validated at once, on the event loop. What would delay others is not: many
events are validated in slices, which grow while they are short; a large event is validated in a thread, by a copy of
the Gate, so that the event loop keeps its own; and a text that needs the slow reader, because of its numbers, is read
on the loop only if it is short.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

from headwater.errors import EventMalformed, HeadwaterError
from headwater.event import REPAIRED, decode_event
from headwater.garbage import uncollected
from headwater.intake.gate import Gate, SchemaPending
from headwater.intake.outcome import Admitted, Refused, Unreadable
from headwater.schemas.limits import ExplanationBudget, explanation_budget

JUDGED_AT_ONCE_MAX = 256
JUDGED_BYTES_MAX = 65_536
JUDGED_BYTES_MIN = 4_096
TURN_SECONDS = 0.01
# A larger event is validated in a thread.
ON_THE_LOOP_BYTES_MAX = 32_768
# How much of a request may be parsed by the slow reader, for numbers with many digits, at once: some milliseconds.
READ_SLOWLY_BYTES_MAX = 8_192
# What is shown of an event that cannot be read in the answer to its request.
SHOWN_BYTES_MAX = 4_096

Verdict = Admitted | Refused | SchemaPending


class Judging:
    """Asks one Gate. Belongs to an event loop."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def readable(self, slices: Sequence[bytes], headers: Mapping[str, str]) -> list[Verdict]:
        """The Gate's verdict on each text, without I/O.

        Raises EventMalformed if one cannot be read strictly, or would take long to read.
        """
        admit = self._gate.try_admit
        explanation_budget.set(ExplanationBudget())
        slow_bytes_max = READ_SLOWLY_BYTES_MAX // (len(slices) or 1)
        verdicts: list[Verdict] = []
        for one in slices:
            value, text, flags = decode_event(one, slow_bytes_max)
            if flags & REPAIRED:
                raise EventMalformed("The text of an event is not Unicode.")
            verdicts.append(admit(value, headers, text, flags))
            # Before the next one is read: its parts then have the same, warm memory.
            del value
        return verdicts

    def all(self, slices: Sequence[bytes], headers: Mapping[str, str]) -> list[Verdict]:
        """As `readable`; what cannot be read is refused, and its neighbours are not."""
        return _judged(self._gate, slices, headers)

    async def in_turns(
        self, slices: Sequence[bytes], headers: Mapping[str, str], unreadable: Unreadable
    ) -> list[Verdict]:
        """`all` for one request; other tasks run in between: ten thousand events take a tenth of a second."""
        explanation_budget.set(ExplanationBudget())
        verdicts: list[Verdict] = []
        size, bytes_most = 0, JUDGED_BYTES_MIN
        for end, one in enumerate(slices, 1):
            start = len(verdicts)
            is_large = len(one) > ON_THE_LOOP_BYTES_MAX
            size += len(one)
            if not (is_large or size >= bytes_most or end - start >= JUDGED_AT_ONCE_MAX or end == len(slices)):
                continue
            if verdicts:
                await asyncio.sleep(0)
            size, began = 0, time.perf_counter()
            verdicts += _judged(self._gate, slices[start : end - is_large], headers)
            # Some events take much longer than others of their size.
            is_long = time.perf_counter() - began > TURN_SECONDS
            bytes_most = max(JUDGED_BYTES_MIN, bytes_most // 4) if is_long else min(JUDGED_BYTES_MAX, bytes_most * 2)
            if is_large:
                verdicts += await asyncio.to_thread(uncollected, _judged, self._gate.apart(), [one], headers)
        for index, reason in unreadable.items():
            verdicts[index] = _unreadable(self._gate, slices[index], reason)
        return verdicts


async def decoded(text: bytes) -> tuple[object, bytes, int]:
    """As `decode_event`, in a thread if it takes long. Raises EventMalformed."""
    if len(text) <= READ_SLOWLY_BYTES_MAX:
        return decode_event(text)
    return await asyncio.to_thread(uncollected, decode_event, text)


def _judged(gate: Gate, slices: Sequence[bytes], headers: Mapping[str, str]) -> list[Verdict]:
    admit: Callable[..., Verdict] = gate.try_admit
    verdicts: list[Verdict] = []
    for one in slices:
        try:
            value, text, flags = decode_event(one)
        except EventMalformed as error:
            verdicts.append(_unreadable(gate, one, error))
        else:
            verdicts.append(admit(value, headers, text, flags))
            del value
    return verdicts


def _unreadable(gate: Gate, received: bytes, reason: HeadwaterError) -> Refused:
    """The refusal of what never became an event; the Gate names its stream and schema where they can be known."""
    value = reason.value if isinstance(reason, EventMalformed) else None
    if value is None:
        value = received[:SHOWN_BYTES_MAX].decode("utf-8", "replace")
    return gate.refuse(value, reason)
