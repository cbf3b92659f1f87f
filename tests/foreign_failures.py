"""What code that is not ours may raise: every kind of exception that has ended a server, as zero-argument raisers."""

import asyncio
import sys
from collections.abc import Callable
from typing import Any, NoReturn


class Wordless(Exception):
    """Cannot say what it is."""

    def __str__(self) -> str:
        raise ValueError("no text")


class ExitingText(BaseException):
    def __str__(self) -> str:  # noqa: PLE0307 - that it gives no text is the point
        sys.exit(4)

    __repr__ = __str__


class Unpicklable(Exception):
    def __init__(self) -> None:
        super().__init__("cannot be pickled")
        self.function = lambda: None

    def __reduce__(self) -> NoReturn:
        raise TypeError("cannot be pickled")


class NoNotes(Exception):
    @property
    def __notes__(self) -> NoReturn:
        raise SystemExit(5)


def _recurse(depth: int = 0) -> int:
    return _recurse(depth + 1) + 1


def _raised(make: Callable[[], BaseException]) -> Callable[[], Any]:
    def raiser() -> NoReturn:
        raise make()

    return raiser


FAILURES: dict[str, Callable[[], Any]] = {
    "SystemExit": lambda: sys.exit(3),
    "SystemExit without a code": sys.exit,
    "KeyboardInterrupt": _raised(KeyboardInterrupt),
    "CancelledError": _raised(asyncio.CancelledError),
    "GeneratorExit": _raised(GeneratorExit),
    "RecursionError": _recurse,
    "MemoryError": _raised(MemoryError),
    "StopIteration": _raised(StopIteration),
    "StopAsyncIteration": _raised(StopAsyncIteration),
    "BaseExceptionGroup": _raised(lambda: BaseExceptionGroup("two", [SystemExit(1), KeyboardInterrupt()])),
    "BaseException": _raised(BaseException),
    "Wordless": _raised(Wordless),
    "ExitingText": _raised(ExitingText),
    "Unpicklable": _raised(Unpicklable),
    "NoNotes": _raised(NoNotes),
    "a lone surrogate": _raised(lambda: ValueError("half an emoji: \ud83d")),
    "a text without end": _raised(lambda: ValueError("x" * 1_500_000)),
}
