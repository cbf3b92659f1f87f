"""What the contexts of one run of a job share: the job's name and settings, the clock, and what a runner offers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypedDict

from headwater.declaration import nearest
from headwater.errors import JobInvalid
from headwater.jobs.metrics import JobMetrics

# From this size on, a state of one key is worth a warning; a larger one than the maximum is not stored.
STATE_BYTES_WARNED = 1_000_000
STATE_BYTES_MAX = 16_000_000
KEY_CHARS_SHOWN = 200


class Offered(TypedDict, total=False):
    """What a runner may offer to the functions of a job: a client, tables by name, measures."""

    http: Any
    tables: Callable[[str], Any]
    metrics: JobMetrics


class Scope:
    """One per run of a job; `Context` asks it for everything that is not about one event.

    `clock`: the runner's, in epoch seconds; None where age does not count, as over history. `outputs`: what `emit`
    accepts as `to`, and the stream it means; None accepts any. `http`, `tables` (name → table), `metrics`: None if the
    runner has none; using it then raises JobInvalid.
    """

    __slots__ = ("_clock", "_has_warned", "_http", "_log", "_metrics", "_outputs", "_tables", "job", "settings")

    def __init__(
        self,
        job: str = "",
        *,
        clock: Callable[[], float] | None = None,
        outputs: Mapping[str, str] | None = None,
        settings: Mapping[str, Any] | None = None,
        http: Any = None,
        tables: Callable[[str], Any] | None = None,
        metrics: JobMetrics | None = None,
    ) -> None:
        self.job = job
        self.settings: Mapping[str, Any] = MappingProxyType(dict(settings or {}))
        self._clock = clock
        self._outputs = outputs
        self._http = http
        self._tables = tables
        self._metrics = metrics
        self._log: logging.Logger | None = None
        self._has_warned = False

    def age_ms(self, event_time_ms: int) -> int:
        """How long ago the time is by the runner's clock; 0 over history, and for times in the future."""
        return 0 if self._clock is None else max(0, int(self._clock() * 1000) - event_time_ms)

    @property
    def processing_ms(self) -> int | None:
        """The time by the runner's clock; None over history, where event time takes its place."""
        return None if self._clock is None else int(self._clock() * 1000)

    @property
    def log(self) -> logging.Logger:
        if self._log is None:
            self._log = logging.getLogger(f"headwater.job.{self.job}")
        return self._log

    @property
    def http(self) -> Any:
        if self._http is None:
            raise _missing("http", "no HTTP client")
        return self._http

    @property
    def metrics(self) -> JobMetrics:
        if self._metrics is None:
            raise _missing("metrics", "no metrics")
        return self._metrics

    def table(self, name: str) -> Any:
        """The materialized table of this name. Raises JobInvalid, naming the nearest, if there is none."""
        if self._tables is None:
            raise _missing("table", "no tables")
        return self._tables(name)

    def large_state(self, key: Any, size_bytes: int) -> None:
        """Warn of a large state, once. Raises JobInvalid, with job, key and size, if it is too large to be stored."""
        shown = repr(key)[:KEY_CHARS_SHOWN]
        if size_bytes > STATE_BYTES_MAX:
            raise JobInvalid(
                f"The state of the key {shown} of the job {self.job} would have {size_bytes:,} bytes, more than"
                f" {STATE_BYTES_MAX:,}.",
                hint="Keep less for each key: rows (keeps_rows), a shorter state_ttl, or a key with fewer events.",
            )
        if not self._has_warned:
            self._has_warned = True
            self.log.warning(
                "job %s: the state of the key %s has %s bytes, and is read and written for each event of the key; the"
                " maximum is %s.",
                self.job,
                shown,
                f"{size_bytes:,}",
                f"{STATE_BYTES_MAX:,}",
            )

    def output_stream(self, to: str) -> str:
        """The stream that `emit` means by `to`. Raises JobInvalid for one that the job does not declare."""
        if self._outputs is None:
            return to.partition(":")[0]
        stream = self._outputs.get(to)
        if stream is None:
            raise self._undeclared(to, list(self._outputs))
        return stream

    def _undeclared(self, to: Any, known: list[str]) -> JobInvalid:
        near = nearest(to, known) if isinstance(to, str) else None
        hint = f"Did you mean {near!r}?" if near else f"Declare it: outputs=({to!r},)." if isinstance(to, str) else None
        return JobInvalid(
            f"emit: {to!r} is not among the job's outputs ({', '.join(known) or 'it has none'}).", hint=hint
        )


def _missing(name: str, lacks: str) -> JobInvalid:
    return JobInvalid(f"context.{name}: this runner has {lacks}.")


NO_SCOPE = Scope()
