"""What would become of an event: its verdict, its place, and what would be filled in."""

from __future__ import annotations

from typing import Any

from headwater.event import decode_event
from headwater.intake.outcome import Admitted, Explanation, Refused


def explanation(verdict: Admitted | Refused, received: bytes) -> Explanation:
    """The verdict on the event that was `received`, for people."""
    if isinstance(verdict, Refused):
        return Explanation(
            verdict="refused",
            event_value=verdict.event_value,
            stream=verdict.stream_name,
            reason=verdict.reason,
            legacy_errors=verdict.legacy_errors,
        )
    before, after = (decode_event(text)[0] for text in (received, verdict.encoded))
    return Explanation(
        verdict="accepted",
        event_value=after,
        stream=verdict.stream.name,
        topic=verdict.topic,
        key=verdict.key.decode() if verdict.key is not None else None,
        filled=difference(before, after),
    )


def difference(before: Any, after: Any, path: str = "") -> dict[str, Any]:
    """{dotted path: value} of what is in `after` and not, or otherwise, in `before`."""
    if not (isinstance(before, dict) and isinstance(after, dict)):
        return {} if before == after else {path: after}
    found: dict[str, Any] = {}
    for name, value in after.items():
        where = f"{path}.{name}" if path else name
        if name in before:
            found.update(difference(before[name], value, where))
        else:
            found[where] = value
    return found
