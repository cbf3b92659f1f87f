"""What the intake counts about itself."""

from __future__ import annotations

from collections.abc import Sequence

from headwater.intake.clocks import ClocksAhead
from headwater.intake.outcome import Admitted, Failed, Refused
from headwater.telemetry import Counter, Telemetry, bounded, closed

# The name of an undeclared stream is chosen by the client: no label.
_NAMELESS_CODES = frozenset(
    {"stream_unknown", "event_malformed", "schema_not_found", "schema_uri_refused", "schema_invalid"}
    | {"too_many_streams"}
)


class Counters:
    """Instruments of one intake."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._events: Counter = telemetry.counter(
            "headwater_intake_events",
            "Events validated, by stream and outcome.",
            (bounded("stream"), closed("outcome")),
        )
        self.clocks = ClocksAhead(telemetry)
        self.hasty = telemetry.counter("headwater_intake_hasty_events", "Fire-and-forget events received.")
        self.hasty_refused = telemetry.counter(
            "headwater_intake_hasty_refused_events", "Fire-and-forget events refused because the backlog was full."
        )
        self.hasty_lost = telemetry.counter(
            "headwater_intake_hasty_lost_events", "Fire-and-forget events answered 202 that could not be stored."
        )
        self.hasty_spooled = telemetry.counter(
            "headwater_intake_hasty_spooled_events",
            "Fire-and-forget events spooled because the log was slow or unavailable.",
        )
        self.hasty_spool_damaged = telemetry.counter(
            "headwater_intake_hasty_spool_damaged_bytes", "Bytes of the spool that were torn or damaged, and are lost."
        )
        self._repaired = telemetry.counter(
            "headwater_intake_repaired_events",
            "Events stored with U+FFFD in the place of text that was not Unicode, by stream.",
            (bounded("stream"),),
        )
        self.error_events_refused = telemetry.counter(
            "headwater_intake_error_events_refused", "Error events that the Gate itself refused."
        )
        self.error_events_lost = telemetry.counter(
            "headwater_intake_error_events_lost", "Error events that could not be stored."
        )

    def accepted(self, admitted: Sequence[Admitted]) -> None:
        self._by_stream(admitted, "accepted")
        for one in admitted:
            if one.lead_ms:
                self.clocks.saw(one.stream.name, one.lead_ms)

    def duplicates(self, admitted: Sequence[Admitted]) -> None:
        self._by_stream(admitted, "duplicate")

    def repaired_event(self, stream: str) -> None:
        self._repaired.labels(stream).inc()

    def refused(self, refused: Refused) -> None:
        code = refused.reason.code
        self._add(refused.stream_name or "" if code not in _NAMELESS_CODES else "", code, 1)

    def failed(self, failed: Failed) -> None:
        self._add("", failed.reason.code, 1)

    def _by_stream(self, admitted: Sequence[Admitted], outcome: str) -> None:
        run, count = None, 0
        for one in admitted:
            if one.stream is run:
                count += 1
                continue
            if run is not None:
                self._add(run.name, outcome, count)
            run, count = one.stream, 1
        if run is not None:
            self._add(run.name, outcome, count)

    def _add(self, stream: str, outcome: str, count: int) -> None:
        self._events.labels(stream, outcome).inc(count)
