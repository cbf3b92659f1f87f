"""The key of a row as one text, for stores that identify what they store by a text."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

SEPARATOR = ":"
# Only these two are escaped, so that usual keys stay readable.
_ESCAPES = str.maketrans({"%": "%25", SEPARATOR: "%3A"})


def key_text(values: Sequence[Any]) -> str:
    """The values of a key, separated by `:`, such as `enwiki:42`. Different keys of one table have different texts.

    Within a value `%` is written as `%25` and `:` as `%3A`; booleans are `true` and `false`.
    """
    return SEPARATOR.join(plain_text(value).translate(_ESCAPES) for value in values)


def bounded_key_text(values: Sequence[Any], bytes_max: int) -> str:
    """`key_text` if it has at most `bytes_max` bytes in UTF-8, otherwise `%sha256:` and the hash of it.

    An escaped text has no `%s`, so that a hash is never the text of another key.
    """
    text = key_text(values)
    encoded = text.encode()
    return text if len(encoded) <= bytes_max else f"%sha256:{hashlib.sha256(encoded).hexdigest()}"


def plain_text(value: Any) -> str:
    """A text, number or boolean of a row as text: numbers and booleans as in JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value)
