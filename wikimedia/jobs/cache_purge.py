"""Has caches forget resources that have changed: the backends, and a moment later the frontends in front of them."""

import asyncio
import re
from collections import OrderedDict
from typing import Any

from headwater.event import get_path
from headwater.jobs import Await, Context, Each, Job, Reject, ToStream
from headwater.jobs.durations import milliseconds
from headwater.jobs.rules.repeats import now_ms

from ..content.cache_servers import CacheLayers, CacheServer
from ..content.purges import age_ms, purge_of

# Purges are repeated without harm, so it is enough that those of a running process are remembered.
REMEMBERED_MS = 86_400_000
REMEMBERED_MAX = 1_000_000
SETTINGS = {
    # Addresses, with spaces between them.
    "backends": "",
    "frontends": "",
    # A regular expression for the hosts whose resources are in these caches.
    "hosts": r"^(?!upload\.)",
    "age_max": "24h",
    "frontend_delay": "1s",
    "backend_workers": 4,
    "frontend_workers": 1,
    "attempts": 3,
    "timeout": "2s",
}


class Running:
    """What belongs to an event loop and to settings: the caches with their lanes, and the ids that are done."""

    def __init__(self, layers: CacheLayers) -> None:
        self.layers = layers
        self._done: OrderedDict[str, int] = OrderedDict()

    def is_done(self, event_id: Any, now_ms: int) -> bool:
        """Whether an event with this id was purged within the last day."""
        at = self._done.get(event_id)
        return at is not None and now_ms - at < REMEMBERED_MS

    def done(self, event_id: Any, now_ms: int) -> None:
        """An event with this id was purged."""
        if event_id is not None:
            self._done[event_id] = now_ms
            if len(self._done) > REMEMBERED_MAX:
                self._done.popitem(last=False)


class Purging:
    """The steps of the job."""

    def __init__(self) -> None:
        self._running: tuple[Any, Running] | None = None

    def decided(self, event: dict[str, Any], context: Context) -> dict[str, Any]:
        """What is to be done about an event; counts it by status and stream."""
        settings = context.settings
        now = now_ms(context)
        age = age_ms(event, now)
        hosts = re.compile(settings["hosts"]) if settings["hosts"] else None
        purge = purge_of(event, hosts, age, milliseconds(settings["age_max"]))
        context.metrics.counter(f"purged_events_received.{purge.status}.{context.stream}")
        context.metrics.gauge("purge_lag_seconds", max(0, age) / 1000)
        made = {"event_id": get_path(event, "meta.id"), "status": purge.status}
        if not isinstance(made["event_id"], str):
            del made["event_id"]
        return {**made, "host": purge.host, "target": purge.target} if purge.host else made

    def turn(self, purge: dict[str, Any], context: Context) -> Any:
        """Events with one id follow one another, so that the second finds the first done."""
        return purge.get("event_id") or [purge.get("host"), purge.get("target")]

    async def purged(self, purge: dict[str, Any], context: Context) -> dict[str, Any] | None:
        """The outcome of an event; nothing for one that was there before."""
        if purge["status"] != "ok":
            return purge
        event_id, now, running = purge.get("event_id"), now_ms(context), self._current(context)
        if running.is_done(event_id, now):
            context.metrics.counter("purges_repeated")
            return None
        if not running.layers:
            raise Reject("The job cache_purge knows no caches; set `backends` and `frontends` to their addresses.")
        failed = await running.layers.purge(purge["host"], purge["target"], context)
        running.done(event_id, now)
        return {**purge, "servers_failed": failed}

    def _current(self, context: Context) -> Running:
        settings = context.settings
        of = (asyncio.get_running_loop(), tuple(sorted((name, str(value)) for name, value in settings.items())))
        if self._running is None or self._running[0] != of:
            backends, frontends = (
                [
                    CacheServer(url, settings[workers], settings["attempts"], milliseconds(settings["timeout"]) / 1000)
                    for url in settings[name].split()
                ]
                for name, workers in (("backends", "backend_workers"), ("frontends", "frontend_workers"))
            )
            delay_seconds = milliseconds(settings["frontend_delay"]) / 1000
            self._running = of, Running(CacheLayers(backends, frontends, delay_seconds))
        return self._running[1]


purging = Purging()
cache_purge = Job(
    "cache_purge",
    ("resource-purge",),
    steps=(
        Each("decided", purging.decided),
        # Each waits a second between the layers.
        Await("purged", purging.purged, concurrency=1_024, retry=None, timeout_ms=300_000, key=purging.turn),
    ),
    output=ToStream("cache_purge.outcome.v1", "1.0.0"),
    settings=SETTINGS,
    summary="Purges resources from caches, the backends first.",
)
