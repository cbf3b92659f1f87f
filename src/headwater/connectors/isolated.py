"""A sink on a thread of its own: whatever its driver does, nothing else in the process waits for it.

How this works: each sink has an event loop in a daemon thread. A driver that blocks, in that loop or in a thread that
it starts from there, delays only this sink. How long a call may take is bounded: then it is cancelled, and reported as
SinkUnavailable, so that it is tried again. If a call does not even end when it is cancelled, or leaves a thread behind
that hangs, its thread and its sink are given up, and the next call begins with new ones. When the process stops, the
time that is left for calls is bounded, too. Errors of drivers leave here without secrets.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import thread as executors
from functools import partial
from typing import Generic, NoReturn, TypeVar

from headwater.connectors.contract import Delivery, Readable, SetsAside, Sink, SinkFeatures, TableShape
from headwater.connectors.secrets import Secrets
from headwater.connectors.tables import TableView
from headwater.errors import SinkUnavailable
from headwater.foreign import awaited

# How long a call may take to end after it was cancelled.
CANCEL_SECONDS = 0.5
# How many threads may hang before the sink waits for one of them to end.
HANGING_MAX = 8
# How long threads that hang may delay the end of the process.
EXIT_SECONDS = 1.0
GIVEN_UP_PAUSE_SECONDS_MAX = 300.0

_T = TypeVar("_T")


class Call(Generic[_T]):
    """Work that was given to the event loop `there`, and its result in the running one.

    How this works: `asyncio.run_coroutine_threadsafe` does the same with a future that both threads lock, and with two
    more that follow it; each of a small number of rows then takes longer to hand over than to write.
    """

    def __init__(self, work: Callable[[], Awaitable[_T]], there: asyncio.AbstractEventLoop) -> None:
        self._work = work
        self._there = there
        self._here = asyncio.get_running_loop()
        self._task: asyncio.Task[_T] | None = None
        self.result: asyncio.Future[_T] = self._here.create_future()

    def start(self) -> None:
        """Called there."""
        self._task = self._there.create_task(self._contained())
        self._task.add_done_callback(self._ended)

    def cancel(self) -> None:
        """Called here; the result may be anything."""
        with contextlib.suppress(RuntimeError):  # its loop has ended
            self._there.call_soon_threadsafe(self._cancel)

    async def _contained(self) -> _T:
        return await awaited(self._work())

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _ended(self, task: asyncio.Task[_T]) -> None:
        with contextlib.suppress(RuntimeError):  # nobody waits any more
            self._here.call_soon_threadsafe(self._settle, task)

    def _settle(self, task: asyncio.Task[_T]) -> None:
        if self.result.done():
            return
        if task.cancelled():
            self.result.cancel()
        elif (error := task.exception()) is not None:
            self.result.set_exception(error)
        else:
            self.result.set_result(task.result())


class SinkThread:
    """An event loop in a daemon thread."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def begin(self, work: Callable[[], Awaitable[_T]]) -> Call[_T]:
        """Start `work` there; its result is awaited here."""
        call = Call(work, self._loop)
        self._loop.call_soon_threadsafe(call.start)
        return call

    def end(self) -> None:
        """Let it end; nobody waits for it."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._loop.stop)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()


def _set(woken: asyncio.Future[None], *_: object) -> None:
    if not woken.done():
        woken.set_result(None)


class IsolatedSink:
    """`sink`, and others of `new_sink` when one hangs. `seconds_max`: how long a call may take. See `isolated`."""

    def __init__(
        self, sink: Sink, new_sink: Callable[[], Sink], name: str, *, seconds_max: float, secrets: Secrets
    ) -> None:
        self.sink = sink
        self.features: SinkFeatures = sink.features
        self._new_sink = new_sink
        self._name = name
        self._seconds_max = seconds_max
        self._secrets = secrets
        self._thread: SinkThread | None = None
        self._hanging: list[SinkThread] = []
        # How many calls were given up since the last one that succeeded.
        self._given_up = 0
        # Set when the process stops; what is running then has only so long.
        self._stop_at: float | None = None
        # What waits for calls.
        self._waiting: set[asyncio.Future[None]] = set()

    async def open(self) -> str | None:
        self._stop_at = None
        return await self._call(self.sink.open, "opened")

    def check(self, delivery: Delivery) -> None:
        self.sink.check(delivery)

    async def write(self, deliveries: Sequence[Delivery], token: str) -> None:
        await self._call(lambda: self.sink.write(deliveries, token), "written")

    async def set_aside(self) -> str | None:
        sink = self.sink
        return await self._call(sink.set_aside, "set aside") if isinstance(sink, SetsAside) else None

    async def close(self) -> None:
        """As `Sink.close`; a target that does not answer delays it no longer than a stop may take."""
        if self._thread is None:
            return
        with contextlib.suppress(SinkUnavailable):
            await self._call(self.sink.close, "closed")
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.end()

    def stop_within(self, seconds: float) -> None:
        """The process stops: calls end within this time, and are given up otherwise. `open` forgets it."""
        self._stop_at = asyncio.get_running_loop().time() + seconds
        for woken in self._waiting:
            _set(woken)

    async def _call(self, work: Callable[[], Awaitable[_T]], what: str) -> _T:
        if self._thread is None:
            self._thread = self._new_thread()
        thread = self._thread
        call = thread.begin(work)
        try:
            seconds = await self._wait(call.result)
        except BaseException:
            # It continues, and nobody is interested in its result.
            call.result.cancel()
            raise
        if call.result.done():
            try:
                result = call.result.result()
                self._given_up = 0
                return result
            except BaseException as error:
                clean = self._secrets.clean(error)
                if clean is error:
                    raise
                raise clean from None
        await self._give_up(thread, call)
        self._given_up += 1
        raise SinkUnavailable(
            f"{self._name}: its target has not answered for {seconds:g} s, so that it is not {what}.",
            hint="It is tried again with a new connection; jobs.sink_call_seconds_max is how long a call may take.",
            # A driver may leave a thread behind each time.
            back_off_seconds=min(GIVEN_UP_PAUSE_SECONDS_MAX, 0.5 * 2.0 ** min(self._given_up, 20)),
        )

    async def _wait(self, result: asyncio.Future[_T]) -> float:
        """Wait for the call as long as it may take; how long that is."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while not result.done():
            until = began + self._seconds_max
            if self._stop_at is not None:
                until = min(until, max(self._stop_at, began))
            if loop.time() >= until:
                return until - began
            woken = loop.create_future()
            wake = partial(_set, woken)
            result.add_done_callback(wake)
            timer = loop.call_at(until, wake)
            self._waiting.add(woken)
            try:
                await woken
            finally:
                self._waiting.discard(woken)
                timer.cancel()
                result.remove_done_callback(wake)
        return self._seconds_max

    async def _give_up(self, thread: SinkThread, call: Call[_T]) -> None:
        """Cancel the call, and begin with another thread and sink: the driver may still be in it."""
        call.cancel()
        ended, _ = await asyncio.wait((call.result,), timeout=CANCEL_SECONDS)
        if not ended:
            call.result.cancel()
        elif not call.result.cancelled():
            # What it raised because of that is of no interest.
            call.result.exception()
        thread.end()
        self._thread = None
        self._hanging = [one for one in self._hanging if one.is_alive] + [thread]
        _exit_despite_threads()
        if self._stop_at is None:
            self.sink = self._new_sink()

    def _new_thread(self) -> SinkThread:
        self._hanging = [one for one in self._hanging if one.is_alive]
        if len(self._hanging) >= HANGING_MAX:
            raise SinkUnavailable(
                f"{HANGING_MAX} calls of {self._name} hang in its driver; no further one is started.",
                hint="Restart the process, and set a timeout in the options of the connector if it has one.",
            )
        return SinkThread(f"sink {self._name}")


class IsolatedTable(IsolatedSink):
    """A sink whose table can be read."""

    @property
    def shape(self) -> TableShape:
        return self._readable().shape

    def view(self, rows_max: int, order: str = "") -> TableView:
        try:
            return self._readable().view(rows_max, order)
        except Exception as error:
            clean = self._secrets.clean(error)
            if clean is error:
                raise
            raise clean from None

    def _readable(self) -> Readable:
        assert isinstance(self.sink, Readable)
        return self.sink


def isolated(new_sink: Callable[[], Sink], name: str, *, seconds_max: float, secrets: Secrets) -> IsolatedSink:
    """The sink that `new_sink` makes, on a thread of its own; one whose table can be read is an IsolatedTable.

    Raises what `new_sink` raises.
    """
    sink = new_sink()
    kind = IsolatedTable if isinstance(sink, Readable) else IsolatedSink
    return kind(sink, new_sink, name, seconds_max=seconds_max, secrets=secrets)


def exit_process(status: int) -> NoReturn:
    """End the process: as `sys.exit`, and at once if threads of drivers hang. To be called when all else has ended.

    An interpreter that ends while a thread of a driver in C++ runs may be aborted by it.
    """
    if _exit_despite_threads.cache_info().currsize and any(_still_running(time.monotonic() + EXIT_SECONDS)):
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(status)
    sys.exit(status)


@functools.cache
def _exit_despite_threads() -> threading.Event:
    """A driver's own threads may hang, and the interpreter would wait for them at its end: bound that.

    When the event that is returned is set, executors end.
    """
    ends = threading.Event()
    # Python 3.12 starts no thread at its end.
    threading.Thread(target=_end_executors, args=(ends,), name="end of executors", daemon=True).start()
    # The last that is registered is called first, before threads are waited for; what `atexit` calls is called later.
    getattr(threading, "_register_atexit", atexit.register)(_leave_hanging_threads)
    return ends


def _end_executors(ends: threading.Event) -> None:
    ends.wait()
    getattr(executors, "_python_exit", lambda: None)()


def _still_running(until: float) -> Iterator[threading.Thread]:
    """The threads for which the interpreter would wait, and that do not end until then: also those of executors, even
    if they are daemons."""
    _exit_despite_threads().set()
    for thread in [*getattr(executors, "_threads_queues", ()), *threading.enumerate()]:
        is_waited_for = not thread.daemon or thread in getattr(executors, "_threads_queues", ())
        if is_waited_for and thread is not threading.main_thread():
            thread.join(max(0.0, until - time.monotonic()))
            if thread.is_alive():
                yield thread


def _leave_hanging_threads() -> None:
    """Let the interpreter wait for those threads only that end, so that it ends as it would without the others: with
    the status of the process, and all output written."""
    for thread in list(_still_running(time.monotonic() + EXIT_SECONDS)):
        getattr(executors, "_threads_queues", {}).pop(thread, None)
        if thread.daemon:
            continue
        if (locks := getattr(threading, "_shutdown_locks", None)) is not None:
            locks.discard(getattr(thread, "_tstate_lock", None))
        else:
            # Python 3.13 and later wait for all or none; the others have had as much time.
            vars(threading)["_thread_shutdown"] = lambda: None
