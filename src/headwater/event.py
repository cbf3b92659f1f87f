"""One immutable JSON object about something that happened: decoding, encoding and the fields every event has.

How this works: only this module converts events from and to JSON; every way into the log reads with `decode_event` and
writes with `encode_event`. A number is kept as it was written. orjson is fast, and gives the nearest double for an
integer beyond 64 bits or a decimal with more digits than a double has. So what it read is written again: if that gives
the received bytes exactly, nothing was changed, as with nearly every event. Otherwise a search for long runs of digits
shows whether some number may have been changed, and only then is the text read again, slowly and exactly: large
integers as `int`, such decimals as `WrittenNumber`. The slow reader also repairs text that is not Unicode.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, NoReturn, Self

import orjson

from headwater.errors import EventMalformed
from headwater.times import time_ms

# Canaries, which show that a stream works from end to end, have this `meta.domain`.
CANARY_DOMAIN = "canary"
CANARY_MARK = b'"canary"'

# What is special about an event's text, as flags. EXACT: it has numbers that only `decode_json` reads exactly.
# REPAIRED: it had text that was not Unicode, which was replaced by U+FFFD.
PLAIN, EXACT, REPAIRED = 0, 1, 2
# The header of a record whose value is EXACT.
EXACT_HEADER = ("numbers", b"exact")
NUMBER_CHARS_MAX = 1_000
# The deepest nesting that `read_json` reads.
NESTING_MAX = 128
NUMBER_CHARS_SHOWN = 60

_INTEGER_MIN, _INTEGER_MAX = -(2**63), 2**64 - 1
# Doubles nearer to zero than this have fewer digits than the others.
_NORMAL_MIN = 2.2250738585072014e-308
_SHAPE = bytes(
    ord("0") if chr(code) in "0123456789." else ord("e") if chr(code) in "eE" else code if chr(code) == "-" else 32
    for code in range(256)
)
# With fewer digits a number is the same as a double; an exponent below -99 may be too near to zero for one.
_MANY_DIGITS, _SMALL = b"0" * 16, b"0e-000"
_LITERAL = re.compile(rb"[0-9.]+(?:[eE][+-]?[0-9]+)?")
_WHITE_SPACE = b" \t\r\n"
_SURROGATE = re.compile("[\ud800-\udfff]")


class WrittenNumber(float):
    """A decimal number that no double equals, with the text it was written with; as a float it is the nearest
    double."""

    __slots__ = ("text",)

    text: str

    def __new__(cls, text: str) -> Self:
        number = super().__new__(cls, text)
        number.text = text
        return number

    def __getnewargs__(self) -> tuple[str]:  # type: ignore[override]
        return (self.text,)


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
        value, text, _ = decode_event(data)
        if not isinstance(value, dict):
            raise EventMalformed(f"An event is a JSON object, not {type(value).__name__}.")
        return cls(value, text)

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


def decode_event(data: bytes, slow_bytes_max: int = sys.maxsize) -> tuple[Any, bytes, int]:
    """Decode JSON text that came from outside: its value, the text to store, and its flags (see `PLAIN`).

    The text to store is compact, has each member of an object once (the last one counts) and the same numbers. Raises
    EventMalformed for text that is not JSON, is nested too deeply, or has a number too large for readers, and for text
    longer than `slow_bytes_max` that has to be read slowly.
    """
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        return _decode_slowly(data, slow_bytes_max)
    try:
        text = orjson.dumps(value)
    except TypeError:
        # It can be read but is too deep to be written; validation reports that in its own words.
        return value, data, PLAIN
    return (value, data, PLAIN) if text == data else _kept(value, text, data, slow_bytes_max)


def _kept(value: Any, text: bytes, data: bytes, slow_bytes_max: int) -> tuple[Any, bytes, int]:
    """As `decode_event`, for text that differs from what orjson writes for its value."""
    # Texts that differ only in white space have the same numbers, and nearly all others have escapes.
    is_spaced = b"\\" not in data and data.translate(None, _WHITE_SPACE) == text.translate(None, _WHITE_SPACE)
    if not is_spaced and _may_change_numbers(data):
        return _decode_slowly(data, slow_bytes_max)
    return value, right_sized(text), PLAIN


def is_json(data: bytes) -> bool:
    """Whether `decode_event` can decode a text, or at least refuse it with a more specific reason."""
    try:
        decode_event(data)
    except EventMalformed as error:
        return error.is_json
    return True


def decode_json(data: bytes | str) -> Any:
    """The value of JSON text, its numbers exact. Raises EventMalformed as `decode_event` does."""
    encoded = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    try:
        value = orjson.loads(encoded)
    except orjson.JSONDecodeError:
        return _decode_slowly(encoded)[0]
    return _decode_slowly(encoded)[0] if _may_change_numbers(encoded) else value


def decode_stored(data: bytes, headers: tuple[tuple[str, bytes], ...]) -> Any:
    """The value of a record of the log; the headers of the record say whether `decode_json` is needed.

    Raises orjson.JSONDecodeError if the record is not JSON.
    """
    return decode_json(data) if EXACT_HEADER in headers else orjson.loads(data)


def encode_event(value: Any) -> tuple[bytes, int]:
    """The JSON text of an event that a program made, and its flags. Raises EventMalformed for values that JSON
    lacks."""
    try:
        text = orjson.dumps(value)
    except TypeError:
        return _encode_slowly(value)
    # NaN and the infinities are written as null.
    if b"null" in text and _has_no_number(value):
        return _encode_slowly(value)
    return right_sized(text), PLAIN


def encode_read(value: Any) -> tuple[bytes, int]:
    """As `encode_event`, for a decoded value to which at most text was added."""
    try:
        return right_sized(orjson.dumps(value)), PLAIN
    except TypeError:
        return _encode_slowly(value)


def encode_json(value: Any) -> bytes:
    """Compact JSON to store, with all numbers exact. Raises TypeError for values that are not JSON."""
    try:
        return right_sized(orjson.dumps(value))
    except TypeError:
        return orjson.dumps(_Spelling().spelled(value, ""))


def encode_kept(value: Any) -> bytes:
    """JSON for `decode_kept`; a leading space marks that some of its numbers need `decode_json`."""
    try:
        return right_sized(orjson.dumps(value))
    except TypeError:
        return b" " + encode_json(value)


def decode_kept(data: bytes) -> Any:
    """The value that was given to `encode_kept`."""
    return decode_json(data) if data[:1] == b" " else orjson.loads(data)


def repaired_text(value: Any) -> Any:
    """The same value if all of its text is Unicode; otherwise a copy with U+FFFD for what is not."""
    spelling = _Spelling()
    repaired = spelling.repaired(value)
    return repaired if spelling.flags else value


def with_decimals(value: Any) -> Any:
    """A copy that has a Decimal for each WrittenNumber, for code that handles Decimals exactly."""
    if isinstance(value, dict):
        return {name: with_decimals(child) for name, child in value.items()}
    if isinstance(value, list):
        return [with_decimals(child) for child in value]
    return Decimal(value.text) if isinstance(value, WrittenNumber) else value


def has_written_numbers(value: Any) -> bool:
    """Whether a decoded value contains a WrittenNumber."""
    try:
        # A value that orjson can write has none, and asking orjson is many times faster than looking at each part.
        orjson.dumps(value)
    except TypeError:
        return any(isinstance(number, WrittenNumber) for number in _floats(value))
    return False


def _has_no_number(value: Any) -> bool:
    """Whether a value that orjson has written contains NaN or an infinity."""
    return not all(map(math.isfinite, _floats(value)))


def _floats(value: Any) -> Iterator[float]:
    containers: list[Any] = [[value]]
    while containers:
        container = containers.pop()
        for child in container.values() if isinstance(container, dict) else container:
            if isinstance(child, float):
                yield child
            elif isinstance(child, dict | list | tuple):
                containers.append(child)


def right_sized(text: bytes) -> bytes:
    """A copy of orjson's result, for what is kept: the result itself holds a buffer of 4 KB, however small it is.

    The copy costs 0.2 µs.
    """
    return bytes(memoryview(text))


def _may_change_numbers(data: bytes) -> bool:
    """Whether orjson may have changed some number of a JSON text by reading it; numbers within strings count, too."""
    shape = data.translate(_SHAPE)
    at = shape.find(_MANY_DIGITS)
    while at >= 0:
        literal = _LITERAL.match(data, at)
        if literal is None or _changes(literal[0].decode(), is_negative=data[at - 1 : at] == b"-"):
            return True
        at = shape.find(_MANY_DIGITS, literal.end())
    return _SMALL in shape


def _changes(text: str, *, is_negative: bool) -> bool:
    """Whether a number, as text without its sign, changes when it becomes a 64-bit integer or a double."""
    if text.isdigit():
        # Not read if it has more digits than any stored number: Python refuses to read integers of thousands of digits.
        return len(text) > 20 or (
            len(text) > 18 and not _INTEGER_MIN <= (-int(text) if is_negative else int(text)) <= _INTEGER_MAX
        )
    try:
        number = float(text)
    except ValueError:
        return False  # part of a text, such as an address of numbers and dots
    return text != repr(number) and (len(text) > NUMBER_CHARS_MAX or not _is_exact(text, number))


def _is_exact(text: str, number: float) -> bool:
    """Whether this double, written in its shortest form, is the number in `text`."""
    if number == 0:
        return not re.search("[1-9]", re.split("[eE]", text)[0])
    if not math.isfinite(number):
        return False
    few_digits = len(text) <= len(_MANY_DIGITS) and abs(number) >= _NORMAL_MIN
    return few_digits or Decimal(text) == Decimal(repr(number))


class _Unfit:
    """A number that is too large for readers, or that JSON lacks, found while an event is read."""

    __slots__ = ("reason", "text")

    def __init__(self, text: str, reason: str) -> None:
        self.text = text
        self.reason = reason


def _integer(text: str) -> Any:
    if len(text) > NUMBER_CHARS_MAX:
        return _Unfit(text, f"has {len(text):,} characters; the limit for a number is {NUMBER_CHARS_MAX:,}")
    return int(text)


def _decimal(text: str) -> Any:
    if len(text) > NUMBER_CHARS_MAX:
        return _Unfit(text, f"has {len(text):,} characters; the limit for a number is {NUMBER_CHARS_MAX:,}")
    number = float(text)
    if not math.isfinite(number):
        return _Unfit(text, "is a number beyond the range of doubles (64 bits, up to 1.8e308)")
    if _is_exact(text, number):
        return number
    if number == 0:
        return _Unfit(text, "is a number too near to zero for doubles (64 bits, from 4.9e-324)")
    return WrittenNumber(text)


def _constant(name: str) -> Any:
    return _Unfit(name, "")


_slow_decoder = json.JSONDecoder(parse_float=_decimal, parse_int=_integer, parse_constant=_constant)


def _decode_slowly(data: bytes, bytes_max: int = sys.maxsize) -> tuple[Any, bytes, int]:
    """As `decode_event`, for texts whose numbers need care, that are not Unicode, or whose faults must be reported."""
    if len(data) > bytes_max:
        raise EventMalformed("The event would take too long to read.")
    spelling = _Spelling()
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = _unicode(data)
        spelling.flags |= REPAIRED
    try:
        value = spelling.repaired(_slow_decoder.decode(text))
        if spelling.unfit is not None:
            _refuse_number(*spelling.unfit, value)
        return value, orjson.dumps(spelling.spelled(value, "")), spelling.flags
    except RecursionError:
        raise EventMalformed("The event is nested too deeply to be read.", is_json=False) from None
    except (ValueError, TypeError) as error:
        raise EventMalformed(f"The event is not JSON: {error}.", is_json=False) from None


def _encode_slowly(value: Any) -> tuple[bytes, int]:
    spelling = _Spelling()
    try:
        spelled = spelling.spelled(value, "")
        if spelling.unfit is not None:
            _refuse_number(*spelling.unfit, None)
        return orjson.dumps(spelled), spelling.flags
    except RecursionError:
        raise EventMalformed("The event is nested too deeply.") from None
    except TypeError as error:
        if "ecursion" in str(error):
            raise EventMalformed("The event is nested too deeply.") from None
        raise EventMalformed(f"The event is not JSON: {error}.") from None


def _refuse_number(where: str, unfit: _Unfit, value: Any) -> NoReturn:
    place, text = where or "The event", unfit.text
    shown = text if len(text) <= NUMBER_CHARS_SHOWN else f"{text[:NUMBER_CHARS_SHOWN]}…"
    if not unfit.reason:
        message = f"The event is not JSON: {place} is {shown}, which JSON does not have."
        raise EventMalformed(message, hint="Leave it out, or send null.", value=value, is_json=False)
    raise EventMalformed(f"{place}: {shown} {unfit.reason}.", hint="Send it as text.", value=value)


def _unicode(data: bytes) -> str:
    """Decode almost valid UTF-8: surrogates written as three bytes each become characters, damaged bytes U+FFFD."""
    try:
        return _joined(data.decode("utf-8", "surrogatepass"))
    except UnicodeDecodeError:
        return data.decode("utf-8", "replace")


def _joined(text: str) -> str:
    """Text with U+FFFD for each lone surrogate; a surrogate pair becomes one character."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


class _Spelling:
    """One walk through a value: `flags` says what was found, `unfit` is the first number that cannot be stored."""

    __slots__ = ("flags", "unfit")

    def __init__(self) -> None:
        self.flags = PLAIN
        self.unfit: tuple[str, _Unfit] | None = None

    def repaired(self, value: Any, where: str = "") -> Any:
        """A copy in which all text is Unicode; unfit numbers are recorded and become text."""
        if isinstance(value, dict):
            pairs = ((self._text(name), child) for name, child in value.items())
            return {name: self.repaired(child, f"{where}.{name}" if where else str(name)) for name, child in pairs}
        if isinstance(value, list):
            return [self.repaired(child, f"{where}[{index}]") for index, child in enumerate(value)]
        if isinstance(value, _Unfit):
            self.unfit = self.unfit or (where, value)
            return value.text
        return self._text(value)

    def spelled(self, value: Any, where: str) -> Any:
        """A copy that orjson writes exactly, its text repaired."""
        if isinstance(value, dict):
            pairs = ((self._text(name), child) for name, child in value.items())
            return {name: self.spelled(child, f"{where}.{name}" if where else str(name)) for name, child in pairs}
        if isinstance(value, list | tuple):
            return [self.spelled(child, f"{where}[{index}]") for index, child in enumerate(value)]
        if isinstance(value, float | Decimal) or (type(value) is int and not _INTEGER_MIN <= value <= _INTEGER_MAX):
            return self._number(value, where)
        return self._text(value)

    def _number(self, value: float | Decimal, where: str) -> Any:
        if type(value) is int and value.bit_length() > 4 * NUMBER_CHARS_MAX:
            read: Any = _Unfit("an integer", f"has more than {NUMBER_CHARS_MAX:,} digits")
        elif isinstance(value, WrittenNumber):
            read = value
        elif type(value) is int:
            # Checked before finiteness: as a double it may be infinite.
            read = _integer(str(value))
        elif not math.isfinite(value):
            read = _Unfit(str(value), "")
        else:
            read = _decimal(str(value)) if isinstance(value, Decimal) else float(value)
        if isinstance(read, _Unfit):
            self.unfit = self.unfit or (where, read)
            return None
        if type(read) is float:
            return read
        self.flags |= EXACT
        return orjson.Fragment(read.text if isinstance(read, WrittenNumber) else str(read))

    def _text(self, value: Any) -> Any:
        if isinstance(value, str) and not value.isascii() and _SURROGATE.search(value):
            self.flags |= REPAIRED
            return _joined(value)
        return value


def json_bytes(value: Any, *, indented: bool = False, default: Callable[[Any], Any] | None = None) -> bytes:
    """JSON (UTF-8) of a value from a declaration: whole numbers of any size keep every digit.

    For schemas, examples, settings and responses made of them; events are encoded by `encode_json`. Other values that
    orjson refuses are written as the nearest JSON: half of a surrogate pair as U+FFFD, a number that is not finite as
    null. Raises TypeError for a value that `default` does not convert.
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
    """The value of JSON text of a declaration; whole numbers of any size are exact. Raises ValueError.

    Refused are NaN, infinities, numbers beyond the range of a double, and values nested deeper than NESTING_MAX, so
    that they can be walked through recursively.
    """
    try:
        value = json.loads(data, parse_float=_finite_number, parse_constant=_finite_number, parse_int=_whole_number)
    except RecursionError:
        raise ValueError(f"it is nested more than {NESTING_MAX} levels deep") from None
    level = [value]
    for _ in range(NESTING_MAX):
        level = [child for holder in level for child in _children(holder)]
        if not level:
            return value
    raise ValueError(f"it is nested more than {NESTING_MAX} levels deep")


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _finite_number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text:.40} is beyond the range of a double")
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


# The digit of the usual variant that has the same lower two bits.
_VARIANTS = {f"{digit:x}": "89ab"[digit & 3] for digit in range(16)}


def uuid_text(digits: str, version: int) -> str:
    """A UUID of this version and the usual variant from at least 32 hexadecimal digits; further digits are ignored.

    `str(uuid.UUID(...))` gives the same and takes three times as long, and many events are given an id.
    """
    variant = _VARIANTS[digits[16]]
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
    """The event time according to the event, in epoch milliseconds: `field` or, if that is absent, `meta.dt`.

    None if neither is a time. This is the producer's clock: whatever uses event time takes the time of receipt if that
    is earlier.
    """
    text = get_path(value, field)
    if text is None:
        text = get_path(value, "meta.dt")
    return time_ms(text) if isinstance(text, str) else None


def get_path(value: Any, path: str) -> Any:
    """The value at a dotted path in nested objects, or None."""
    for part in path.split("."):
        if type(value) is dict:  # most are, and asking for a Mapping takes several times as long
            value = value.get(part)
        elif isinstance(value, Mapping) and part in value:
            value = value[part]
        else:
            return None
        if value is None:
            return None
    return value
