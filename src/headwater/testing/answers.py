"""What `context.http` is given in tests: answers written in the test, or recorded ones; no connection is made.

Both take the place of the transport below the real client, so that statuses, retries and the cache are those of a live
run.
"""

from __future__ import annotations

import base64
import fnmatch
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from headwater.declaration import nearest
from headwater.errors import LookupRefused
from headwater.lookups.request import Request
from headwater.lookups.response import Response
from headwater.lookups.transport import Transport
from headwater.settings import LookupsConfig


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. `body`: bytes, text, or anything that JSON has."""

    body: Any = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)

    def response(self, url: str) -> Response:
        """As the client reads it."""
        headers = {name.title(): value for name, value in self.headers.items()}
        match self.body:
            case bytes():
                body = self.body
            case str():
                body = self.body.encode()
            case _:
                body = orjson.dumps(self.body)
                headers.setdefault("Content-Type", "application/json")
        return Response(self.status, headers, body, url.partition("?")[0])


Given = (
    Answer
    | BaseException
    | Callable[[Request], Any]
    | Mapping[str, Any]
    | list[Any]
    | tuple[Any, ...]
    | str
    | bytes
    | int
)


class Answers(Transport):
    """Answers by URL: `Answers({"https://wiki.example/api*": {"title": "Tea"}})`.

    A key is a URL, with `*` for anything, and optionally a method before it: `POST https://…`; the first that matches
    is taken. A value is JSON (dict, list), text, bytes, a status, an `Answer`, an exception to raise, or a function of
    the request that returns one of these; of a tuple each is taken once, the last again and again. `requests` are those
    that were sent; `unexpected` had no answer, and were refused.
    """

    def __init__(self, answers: Mapping[str, Given]) -> None:
        super().__init__(LookupsConfig())
        self._written = dict(answers)
        self._taken: dict[str, int] = {}
        self.requests: list[Request] = []
        self.unexpected: list[str] = []

    async def exchange(self, request: Request, seconds: float) -> Response:
        self.requests.append(request)
        for pattern, given in self._written.items():
            method, space, url = pattern.rpartition(" ")
            if (not space or method == request.method) and _matches(url, request.url):
                return self._answer(pattern, given, request)
        called = f"{request.method} {request.url}"
        self.unexpected.append(called)
        near = nearest(called, self._written) or nearest(request.url, self._written)
        raise LookupRefused(f"The test has no answer for {called}.", hint=f"Did you mean {near!r}?" if near else None)

    async def close(self) -> None:
        """There is nothing to close."""

    def _answer(self, pattern: str, given: Any, request: Request) -> Response:
        if isinstance(given, tuple):
            number = self._taken.get(pattern, 0)
            self._taken[pattern] = number + 1
            given = given[min(number, len(given) - 1)]
        if callable(given) and not isinstance(given, type):
            given = given(request)
        if isinstance(given, BaseException):
            raise given
        if isinstance(given, int) and not isinstance(given, bool):
            given = Answer(status=given)
        return (given if isinstance(given, Answer) else Answer(given)).response(request.url)


class RecordedAnswers(Transport):
    """Answers from a file of earlier ones, one line of JSON each, in the order they were given.

    `record`: ask the real services instead, and write a new file; headers of requests are not recorded, since they
    may hold secrets. A request that is repeated gets the answers one after the other, then the last one.
    """

    def __init__(self, path: Path, *, record: bool = False, settings: LookupsConfig | None = None) -> None:
        """Raises FileNotFoundError if there is no file, and nothing is recorded."""
        super().__init__(settings or LookupsConfig())
        self._path = path
        self._record = record
        self._recorded: dict[str, list[Answer]] = {}
        if record:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")
            return
        for line in path.read_bytes().splitlines():
            kept = orjson.loads(line)
            body = kept["text"] if "text" in kept else base64.b64decode(kept["base64"])
            self._recorded.setdefault(kept["request"], []).append(Answer(body, kept["status"], kept["headers"]))

    async def exchange(self, request: Request, seconds: float) -> Response:
        called = f"{request.method} {request.url}" + (f" {request.body.decode('latin-1')}" if request.body else "")
        if self._record:
            answer = await super().exchange(request, seconds)
            self._write(called, answer)
            return answer
        answers = self._recorded.get(called)
        if not answers:
            raise LookupRefused(f"{self._path.name} has no answer for {called}.", hint="Record it again.")
        return (answers.pop(0) if len(answers) > 1 else answers[0]).response(request.url)

    def _write(self, called: str, answer: Response) -> None:
        headers = {name: value for name, value in answer.headers.items() if name.lower() in _KEPT_HEADERS}
        kept: dict[str, Any] = {"request": called, "status": answer.status, "headers": headers}
        try:
            kept["text"] = answer.bytes.decode("utf-8")
        except UnicodeDecodeError:
            kept["base64"] = base64.b64encode(answer.bytes).decode()
        with self._path.open("ab") as file:
            file.write(orjson.dumps(kept, option=orjson.OPT_APPEND_NEWLINE))


# Those that the client regards; others may hold secrets, such as cookies.
_KEPT_HEADERS = frozenset({"content-type", "retry-after", "location", "cache-control", "mediawiki-api-error"})


def _matches(pattern: str, url: str) -> bool:
    if "*" not in pattern:
        return pattern == url
    # Only the star is special: URLs have brackets and question marks.
    escaped = "".join(f"[{character}]" if character in "?[" else character for character in pattern)
    return fnmatch.fnmatchcase(url, escaped)
