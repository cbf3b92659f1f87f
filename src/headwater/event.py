"""One immutable JSON object about something that happened: decoding, encoding and the fields every event has."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from headwater.errors import EventMalformed
from headwater.times import time_ms

# Artificial events, which prove that a way is open, have this `meta.domain`.
CANARY_DOMAIN = "canary"
CANARY_MARK = b'"canary"'


class Event:
    """A frozen wrapper of one JSON object. Equality is by value; the wrapped object must not be changed.

    The bytes it was decoded from, or first encoded to, are kept, so that an event is encoded at most once.
    """

    __slots__ = ("_bytes", "value")

    value: Mapping[str, Any]

    def __init__(self, value: Mapping[str, Any], encoded: bytes | None = None) -> None:
        object.__setattr__(self, "value", value)
        object.__setattr__(self, "_bytes", encoded)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"an Event is immutable: cannot set {name!r}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Event) and self.value == other.value

    def __hash__(self) -> int:
        return hash(self.encode())

    def __repr__(self) -> str:
        return f"Event({self.schema_uri!r} → {self.stream!r}, id={self.id!r})"

    @classmethod
    def decode(cls, data: bytes) -> Event:
        """Read one JSON object (UTF-8). Raises EventMalformed."""
        try:
            value = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise EventMalformed(f"The bytes are not JSON: {error}.") from None
        if not isinstance(value, dict):
            raise EventMalformed(f"An event is a JSON object, not {type(value).__name__}.")
        return cls(value, data)

    def encode(self) -> bytes:
        """Compact JSON (UTF-8), one line."""
        encoded: bytes | None = object.__getattribute__(self, "_bytes")
        if encoded is None:
            encoded = encode_json(self.value)
            object.__setattr__(self, "_bytes", encoded)
        return encoded

    def get(self, path: str) -> Any:
        """The value at a dotted path such as `meta.id`, or None where any part is absent."""
        return get_path(self.value, path)

    @property
    def schema_uri(self) -> str | None:
        uri = self.value.get("$schema")
        return uri if isinstance(uri, str) else None

    @property
    def stream(self) -> str | None:
        return self._meta_text("stream")

    @property
    def id(self) -> str | None:
        return self._meta_text("id")

    @property
    def domain(self) -> str | None:
        return self._meta_text("domain")

    @property
    def dt(self) -> str | None:
        """`meta.dt`, the time of receipt as text."""
        return self._meta_text("dt")

    def with_meta(self, **fields: Any) -> Event:
        """A new event with these fields of `meta` set."""
        meta = self.value.get("meta")
        return Event({**self.value, "meta": {**(meta if isinstance(meta, dict) else {}), **fields}})

    def _meta_text(self, name: str) -> str | None:
        meta = self.value.get("meta")
        text = meta.get(name) if isinstance(meta, dict) else None
        return text if isinstance(text, str) else None


def encode_json(value: Any) -> bytes:
    """Compact JSON to keep. orjson's own result holds a buffer of 4 KB however small it is; the copy costs 0.2 µs."""
    try:
        return bytes(memoryview(orjson.dumps(value)))
    except TypeError as error:
        # The default of a schema may be such a number; all else that orjson refuses is refused.
        if "64-bit" not in str(error):
            raise
        return json_bytes(value)


def json_bytes(value: Any, *, indented: bool = False, default: Callable[[Any], Any] | None = None) -> bytes:
    """JSON (UTF-8) of whatever a declaration may say: whole numbers of any size keep every digit.

    For schemas, examples, settings and answers made of them; events are encoded by `encode_json`. What orjson refuses
    besides is written as near as JSON comes to it: half of a surrogate pair as U+FFFD, what is no finite number as
    null. Raises TypeError for a value that `default` makes no JSON of.
    """
    try:
        return orjson.dumps(value, default, orjson.OPT_INDENT_2 if indented else None)
    except TypeError:
        separators = (",", ": ") if indented else (",", ":")
        text = json.dumps(
            _finite(value),
            default=default,
            ensure_ascii=False,
            indent=2 if indented else None,
            separators=separators,
        )
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def read_json(data: bytes | bytearray | str) -> Any:
    """The value of a JSON text about declarations, whole numbers of any size exactly. Raises ValueError.

    What JSON has no value for is refused: NaN, infinities and numbers beyond those of a double.
    """
    return json.loads(data, parse_float=_finite_number, parse_constant=_finite_number, parse_int=_whole_number)


def _finite_number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text:.40} is beyond those of a double")
    return number


def _whole_number(text: str) -> int:
    _finite_number(text)
    return int(text)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: _finite(child) for name, child in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def uuid_text(digits: str, version: int) -> str:
    """A UUID of this version and the usual variant, of at least 32 hexadecimal digits; the rest of them is left out.

    `str(uuid.UUID(...))` gives the same in three times the time, and many events are given an id.
    """
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-{version}{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:32]}"


def is_canary(value: bytes) -> bool:
    """Whether the bytes of an event are those of a canary. Nearly free for those that are not."""
    if CANARY_MARK not in value:
        return False
    try:
        event = orjson.loads(value)
    except orjson.JSONDecodeError:
        return False
    meta = event.get("meta") if isinstance(event, dict) else None
    return isinstance(meta, dict) and meta.get("domain") == CANARY_DOMAIN


def event_time_ms(value: Any, field: str) -> int | None:
    """When the event says that it happened, in epoch milliseconds: at `field` or, where that is absent, in `meta.dt`.

    None where nothing there is a time. It is the producer's clock that says so: what goes by event time takes the time
    of receipt where that is earlier.
    """
    text = get_path(value, field)
    if text is None:
        text = get_path(value, "meta.dt")
    return time_ms(text) if isinstance(text, str) else None


def get_path(value: Any, path: str) -> Any:
    """The value at a dotted path in nested objects, or None."""
    for part in path.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value
