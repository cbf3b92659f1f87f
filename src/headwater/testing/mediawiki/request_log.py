"""What a stand-in was asked, in order, for tests to check: bounded, the oldest go first."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class LoggedRequest:
    """One request of a client; those to the control plane are not logged.

    `number` counts from 1. `time`: seconds since the epoch, by the stand-in's clock. `revids`: the revisions asked for,
    by whichever way. `in_flight`: how many requests, with this one, were being answered. `status`: what was answered,
    None for a connection that was reset. `rule`: the mode of the rule that applied, None where none did.
    """

    number: int
    time: float
    method: str
    domain: str
    path: str
    params: Mapping[str, str]
    user_agent: str | None
    request_id: str | None
    revids: tuple[int, ...]
    in_flight: int
    status: int | None
    rule: str | None

    def as_json(self) -> dict[str, Any]:
        """As the control plane lists it."""
        return {
            "number": self.number,
            "time": self.time,
            "method": self.method,
            "domain": self.domain,
            "path": self.path,
            "params": dict(self.params),
            "User-Agent": self.user_agent,
            "X-Request-Id": self.request_id,
            "revids": list(self.revids),
            "in_flight": self.in_flight,
            "status": self.status,
            "rule": self.rule,
        }


class RequestLog:
    """The last requests. `count` is that of all since the log was cleared."""

    def __init__(self, kept_max: int) -> None:
        self._kept: deque[LoggedRequest] = deque(maxlen=kept_max)
        self.count = 0

    def append(self, request: LoggedRequest) -> None:
        """Keep one more, and forget the oldest where there are too many."""
        self.count += 1
        self._kept.append(request)

    def clear(self) -> None:
        """Forget all, and count from 1 again."""
        self._kept.clear()
        self.count = 0

    def kept(self) -> list[LoggedRequest]:
        """The requests that are still there, oldest first."""
        return list(self._kept)
