"""The line protocol of server-sent events, as clients read it."""

from __future__ import annotations

from dataclasses import dataclass

from headwater.errors import HeadwaterError

LINE_BYTES_MAX = 33_554_432
# In milliseconds: a longer pause than this is ignored.
RETRY_DIGITS_MAX = 9
# What is kept of data that is too large.
KEPT_BYTES = 16_384


@dataclass(frozen=True, slots=True)
class Message:
    """One dispatched event: its type, its data, and the id to resume after it. `is_cut`: the data was too large."""

    event: str
    data: str
    id: str | None
    is_cut: bool = False


class SubscriptionRefused(HeadwaterError):
    """The server refused this subscription, and a retry would be refused again."""

    code = "subscription_refused"


class MessageParser:
    """The line protocol of server-sent events, fed with bytes cut anywhere.

    `data_bytes_max`: of data that is larger, only the beginning is kept; by default such a line is an error.
    """

    def __init__(self, data_bytes_max: int | None = None) -> None:
        self._data_bytes_max = data_bytes_max
        self._is_cut = False
        self.last_id: str | None = None
        self.retry_seconds: float | None = None
        self._rest = bytearray()
        self._event = ""
        self._data: list[str] = []
        self._id: str | None = None

    def feed(self, chunk: bytes) -> list[Message]:
        """The messages completed by `chunk`. Raises SubscriptionRefused for a line without end."""
        messages: list[Message] = []
        is_ended = self._rest.endswith(b"\r") or b"\n" in chunk or b"\r" in chunk
        self._rest += chunk
        if not is_ended:
            # A long line that arrives in many pieces is searched only once.
            self._require_end()
            return messages
        # A lone CR also ends a line, but may be half of CRLF: the last byte of a chunk waits for the next one.
        end = len(self._rest) - (1 if self._rest.endswith(b"\r") else 0)
        text = bytes(self._rest[:end])
        lines = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._rest = bytearray(lines.pop()) + self._rest[end:]
        self._require_end()
        for line in lines:
            message = self._line(line.decode("utf-8", "replace"))
            if message is not None:
                messages.append(message)
        return messages

    def _require_end(self) -> None:
        if self._data_bytes_max is not None and len(self._rest) > self._data_bytes_max + len("data: "):
            ends_with_cr = self._rest.endswith(b"\r")
            self._rest = self._rest[:KEPT_BYTES] + (b"\r" if ends_with_cr else b"")
            self._is_cut = True
        elif len(self._rest) > LINE_BYTES_MAX:
            raise SubscriptionRefused(f"The server sent a line of more than {LINE_BYTES_MAX} bytes.")

    def _line(self, line: str) -> Message | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            limit = self._data_bytes_max
            if limit is not None and len(value) + sum(map(len, self._data)) > limit:
                self._is_cut = True
            self._data.append(value[:KEPT_BYTES] if self._is_cut else value)
        elif name == "event":
            self._event = value
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isascii() and value.isdigit() and len(value) <= RETRY_DIGITS_MAX:
            self.retry_seconds = int(value) / 1000
        return None

    def _dispatch(self) -> Message | None:
        if self._id is not None:
            self.last_id = self._id
        text = "\n".join(self._data)
        message = Message(self._event or "message", text, self.last_id, self._is_cut) if self._data else None
        self._event, self._data, self._is_cut = "", [], False
        return message
