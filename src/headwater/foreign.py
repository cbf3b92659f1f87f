"""Calls code that is not part of Headwater, so that nothing it raises ends more than that call.

How this works: a job's function, a job file or a sink may raise anything, also a `BaseException` that is not an
`Exception`: `SystemExit` from a library that was made for scripts, a `CancelledError` of its own, `GeneratorExit`. All
of these are failures of that call. Two cases look the same and are not: a real Ctrl + C, and a cancellation of the task
that runs the call. The task knows whether it was cancelled. Ctrl + C raises `KeyboardInterrupt` between two
instructions, or in the handler that was set for it, never in a `raise` statement of the foreign code.
"""

from __future__ import annotations

import asyncio
import dis
import functools
import signal
import threading
import traceback
from collections.abc import Awaitable
from types import CodeType, TracebackType
from typing import Any, TypeVar

TEXT_CHARS_MAX = 10_000

_RAISE = dis.opmap["RAISE_VARARGS"]
_T = TypeVar("_T")


class Escaped(Exception):
    """Foreign code raised `error`, which is not an `Exception` and would have ended more than the call."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(described(error))
        self.error = error


def contain(error: BaseException) -> None:
    """Return if `error` is a failure of the foreign code; raise it again if it really asks us to stop.

    Call it in an `except BaseException` around the call.
    """
    if not isinstance(error, Exception) and _asks_to_stop(error):
        raise error


async def awaited(work: Awaitable[_T]) -> _T:
    """The result of foreign `work`. Whatever it raises becomes an `Exception`: Escaped if it was not one."""
    try:
        return await work
    except Exception:
        raise
    except BaseException as error:
        # The interpreter raises this one in a coroutine that is discarded while it waits.
        if _asks_to_stop(error) or (isinstance(error, GeneratorExit) and not _was_raised(error)):
            raise
        raise Escaped(error) from error


def original(error: BaseException) -> BaseException:
    """What the foreign code itself raised."""
    return error.error if isinstance(error, Escaped) else error


def described(error: BaseException) -> str:
    """`ValueError: its text`, even if its `__str__` raises."""
    name, text = name_of(original(error)), text_of(original(error))
    return f"{name}: {text}" if text else name


def name_of(error: BaseException) -> str:
    """The name of its class."""
    return str(type.__dict__["__name__"].__get__(type(error)))


def text_of(error: BaseException) -> str:
    """The text of the error, valid as UTF-8 and of bounded length."""
    try:
        text = "".join(str(error))
    except BaseException as another:
        contain(another)
        text = f"(its text cannot be read: reading it raises {name_of(another)})"
    return utf8(text[:TEXT_CHARS_MAX])


def stack_of(error: BaseException) -> str:
    """Its traceback as Python prints it, with that of its causes."""
    try:
        return utf8("".join(traceback.format_exception(original(error))))
    except BaseException as another:
        contain(another)
        frames = traceback.StackSummary.extract(traceback.walk_tb(original(error).__traceback__), lookup_lines=False)
        return utf8("".join(traceback.format_list(frames)) + described(error))


def utf8(text: str) -> str:
    """The text with U+FFFD for what UTF-8 cannot encode."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _asks_to_stop(error: BaseException) -> bool:
    if isinstance(error, KeyboardInterrupt):
        return _is_ctrl_c(error)
    if isinstance(error, asyncio.CancelledError):
        try:
            task = asyncio.current_task()
        except RuntimeError:
            return False
        return task is not None and task.cancelling() > 0
    return False


def _is_ctrl_c(error: BaseException) -> bool:
    """Whether the handler of SIGINT raised it; an error that foreign code raised while handling that one counts,
    too."""
    if threading.current_thread() is not threading.main_thread():
        return False
    handler = signal.getsignal(signal.SIGINT)
    seen: set[int] = set()
    at: BaseException | None = error
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        if isinstance(at, KeyboardInterrupt):
            if handler is signal.default_int_handler:
                if not _was_raised(at):
                    return True
            elif _last(at.__traceback__)[0] is _code_of(handler):
                return True
        at = at.__context__
    return False


def _was_raised(error: BaseException) -> bool:
    """Whether a `raise` statement raised it."""
    code, instruction = _last(error.__traceback__)
    return code is not None and 0 <= instruction < len(code.co_code) and code.co_code[instruction] == _RAISE


def _last(trace: TracebackType | None) -> tuple[CodeType | None, int]:
    """The code that an exception was raised in, and where in it."""
    if trace is None:
        return None, -1
    while trace.tb_next is not None:
        trace = trace.tb_next
    return trace.tb_frame.f_code, trace.tb_lasti


def _code_of(handler: Any) -> CodeType | None:
    while isinstance(handler, functools.partial):
        handler = handler.func
    code = getattr(getattr(handler, "__func__", handler), "__code__", None)
    return code if isinstance(code, CodeType) else None
