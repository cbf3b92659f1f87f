"""Removes the secrets of a connector from what its driver says: many put the whole address into their exceptions."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Iterable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote, quote_plus, unquote, urlsplit

from headwater.errors import HeadwaterError
from headwater.foreign import awaited, described, stack_of, text_of

SHOWN = "***"
# Shorter texts are in every message.
CHARS_MIN = 3
# Shorter parts of an address are words.
PART_CHARS_MIN = 8
_IN_TEXT = re.compile(
    r"(?i)\b(?:password|passwd|pwd|passfile|secret|token)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|\"([^\"]*)\"|([^\s;&]+))"
)
# The value of a header `Authorization`, of which services repeat what follows the scheme.
_SCHEME = re.compile(r"(?i)(?:bearer|basic|token|apikey)\s+(\S+)")

_T = TypeVar("_T")


class Secrets:
    """The secrets of one connector, and the passwords in them, in every spelling that a driver may write."""

    def __init__(self, values: Iterable[Any]) -> None:
        found: set[str] = set()
        for value in values:
            # An option may be several, such as headers.
            for one in value.values() if isinstance(value, Mapping) else (value,):
                if isinstance(one, str):
                    found |= _spellings(one)
        # A password may be a part of a longer one.
        self._texts = sorted((one for one in found if len(one) >= CHARS_MIN), key=len, reverse=True)

    def removed(self, text: str) -> str:
        """The text without them."""
        for secret in self._texts:
            text = text.replace(secret, SHOWN)
        return text

    def are_in(self, text: str) -> bool:
        """Whether any of them is in the text."""
        return any(secret in text for secret in self._texts)

    def clean(self, error: BaseException) -> BaseException:
        """The error, or one that says the same without secrets: neither text nor causes nor stack have them."""
        if not self._texts or not self.are_in(f"{stack_of(error)}\n{_all_of(error)}"):
            return error
        # Its causes are in the text that was made of them.
        error.__cause__ = error.__context__ = None
        error.__suppress_context__ = True
        error.__traceback__ = None
        if isinstance(error, HeadwaterError):
            for name, value in vars(error).items():
                setattr(error, name, self._of_value(value))
        error.args = tuple(self._of_value(one) for one in error.args)
        return RuntimeError(self.removed(described(error))) if self.are_in(_all_of(error)) else error

    async def kept_by(self, work: Awaitable[_T]) -> _T:
        """The result of a connector's `work`; what it raises is an `Exception` and has no secrets."""
        try:
            return await awaited(work)
        except Exception as error:
            clean = self.clean(error)
            if clean is error:
                raise
            raise clean from None

    def _of_value(self, value: Any) -> Any:
        match value:
            case str():
                return self.removed(value)
            case bytes():
                return self.removed(value.decode("utf-8", "replace")).encode()
            case BaseException():
                return self.clean(value)
            case Mapping():
                return {key: self._of_value(one) for key, one in value.items()}
            case tuple() | list():
                return type(value)(self._of_value(one) for one in value) if type(value) in (tuple, list) else value
            case _:
                return value


def _spellings(secret: str) -> set[str]:
    """The secret and those in it, percent-encoded or not.

    They are the password or the place of a URL, that of `password=…`, and what follows `Bearer`.
    """
    found = {secret}
    try:
        parts = urlsplit(secret)
        password = parts.password
    except ValueError:
        parts, password = urlsplit(""), None
    if password:
        found.add(password)
    if parts.scheme in ("http", "https"):
        # Services repeat which place they were asked for, and that is what is secret of an address.
        found |= {
            one for one in (parts.path.strip("/"), parts.query, *parts.path.split("/")) if len(one) >= PART_CHARS_MIN
        }
    if scheme := _SCHEME.fullmatch(secret.strip()):
        found.add(scheme[1])
    for match in _IN_TEXT.finditer(secret):
        found.add(next(part for part in match.groups() if part is not None))
    for one in list(found):
        found |= {unquote(one), quote(one, safe=""), quote_plus(one), repr(one)[1:-1]}
    return found


def _all_of(error: BaseException) -> str:
    return f"{text_of(error)}\n{getattr(error, '__dict__', {})!r}"
