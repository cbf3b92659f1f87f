"""What each `format` accepts: the rules of the validator that producers know, except dates that do not exist.

How this works: a format that is a regular expression becomes a `pattern` of the compiled schema, because that costs a
tenth of a microsecond where a Python callback costs several (contracts/performance.md §2, "Drop-in detail"). Days that
no calendar has are refused by the same expression, at no extra cost. The few formats that no linear regular expression
can express are callbacks. `[A-Za-z]` is written out because case-insensitive matching would also accept the Kelvin sign
as a K.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import jsonschema_rs

_YEAR_DAY = (
    r"(?:[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    r"|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    r"|02-(?:0[1-9]|1[0-9]|2[0-8]))"
    r"|(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29)"
)
_CLOCK = r"(?:(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]|23:59:60)(?:\.[0-9]+)?"
_ZONE = r"(?:[zZ]|[+-](?:[01][0-9]|2[0-3])(?::?[0-5][0-9])?)"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_V4 = r"(?:(?:25[0-5]|2[0-4][0-9]|[01]?[0-9]?[0-9])\.){3}(?:25[0-5]|2[0-4][0-9]|[01]?[0-9]?[0-9])"
_V4_TAIL = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])(?:\.(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])){3}"
_H = "[0-9A-Fa-f]{1,4}"
_V6 = "|".join(
    (
        rf"(?:{_H}:){{7}}(?:{_H}|:)",
        rf"(?:{_H}:){{6}}(?::{_H}|{_V4_TAIL}|:)",
        rf"(?:{_H}:){{5}}(?:(?::{_H}){{1,2}}|:{_V4_TAIL}|:)",
        *(rf"(?:{_H}:){{{n}}}(?:(?::{_H}){{1,{7 - n}}}|(?::{_H}){{0,{5 - n}}}:{_V4_TAIL}|:)" for n in range(4, 0, -1)),
        rf":(?:(?::{_H}){{1,7}}|(?::{_H}){{0,5}}:{_V4_TAIL}|:)",
    )
)
_HEX2 = "%[0-9A-Fa-f]{2}"
_VARIABLE = rf"(?:[A-Za-z0-9_]|{_HEX2})+(?::[1-9][0-9]{{0,3}}|\*)?"
_POINTER = r"(?:/(?:[^~/]|~0|~1)*)*"

FORMAT_PATTERNS: dict[str, str] = {
    "date": rf"^{_YEAR_DAY}$",
    "time": rf"^{_CLOCK}{_ZONE}?$",
    "date-time": rf"^{_YEAR_DAY}[tT\s]{_CLOCK}{_ZONE}$",
    "uri": r"^[A-Za-z][A-Za-z0-9+\-.]*:\S*$",
    "uri-reference": r"^(?:(?:[A-Za-z][A-Za-z0-9+\-.]*:)?/?/)?(?:[^\\\s#][^\s#]*)?(?:#[^\\\s]*)?$",
    "uri-template": (
        rf"""^(?:[^\x00-\x20"'<>%\\^`{{|}}]|{_HEX2}|\{{[+#./;?&=,!@|]?{_VARIABLE}(?:,{_VARIABLE})*\}})*$"""
    ),
    "email": rf"^[A-Za-z0-9.!#$%&'*+/=?^_`{{|}}~-]+@{_LABEL}(?:\.{_LABEL})*$",
    "ipv4": rf"^{_V4}$",
    "ipv6": rf"^\s*(?:{_V6})(?:%.+)?\s*$",
    "uuid": r"^(?:[uU][rR][nN]:[uU][uU][iI][dD]:)?[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}$",
    "json-pointer": rf"^{_POINTER}$",
    "json-pointer-uri-fragment": rf"^#(?:/(?:[A-Za-z0-9_\-.!$&'()*+,;:=@]|{_HEX2}|~0|~1)*)*$",
    "relative-json-pointer": rf"^(?:0|[1-9][0-9]*)(?:#|{_POINTER})$",
}

_HOSTNAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?")
_URL = re.compile(
    r"(?:https?|ftp)://(?:[^\s:@/]*(?::[^\s@/]*)?@)?(?P<host>[^\s:/]+)(?::[0-9]{2,5})?(?:/\S*)?", re.IGNORECASE
)
_URL_V4 = re.compile(
    r"(?:[1-9][0-9]?|1[0-9][0-9]|2[01][0-9]|22[0-3])(?:\.(?:1?[0-9]{1,2}|2[0-4][0-9]|25[0-5])){2}"
    r"\.(?:[1-9][0-9]?|1[0-9][0-9]|2[0-4][0-9]|25[0-4])"
)
_URL_PRIVATE_V4 = re.compile(r"10\.|127\.|169\.254\.|192\.168\.|172\.(?:1[6-9]|2[0-9]|3[01])\.")
_URL_LABEL = re.compile(r"(?:[0-9a-z\u00a1-\U0010ffff]+-)*[0-9a-z\u00a1-\U0010ffff]+", re.IGNORECASE)
_URL_TOP = re.compile(r"[a-z\u00a1-\U0010ffff]{2,}", re.IGNORECASE)


def is_hostname(text: str) -> bool:
    return len(text.removesuffix(".")) <= 253 and _HOSTNAME.fullmatch(text) is not None


def is_url(text: str) -> bool:
    """A public http, https or ftp URL: a host with a top-level domain of letters, or an address that is not private."""
    match = _URL.fullmatch(text)
    if match is None:
        return False
    host = match["host"]
    if _URL_V4.fullmatch(host):
        return not _URL_PRIVATE_V4.match(host)
    *labels, top = host.split(".")
    return bool(labels) and all(map(_URL_LABEL.fullmatch, labels)) and _URL_TOP.fullmatch(top) is not None


def is_regex(text: str) -> bool:
    """An expression the linear-time engine can run: no look-around, no back-references."""
    try:
        compile_pattern(text)
    except ValueError:
        return False
    return True


FORMAT_FUNCTIONS: dict[str, Callable[[str], bool]] = {"hostname": is_hostname, "url": is_url, "regex": is_regex}

# Formats that only the newest dialect defines; the engine's own implementation of each is strict and linear.
FORMATS_OF_2020_12 = frozenset(("duration", "iri", "iri-reference", "idn-email", "idn-hostname"))


def compile_pattern(pattern: str) -> Callable[[str], bool]:
    """A test of text against an ECMA 262 expression in time linear in the text. Raises ValueError if it cannot be."""
    try:
        engine = jsonschema_rs.Draft7Validator({"pattern": pattern}, pattern_options=PATTERN_OPTIONS)
    except jsonschema_rs.ValidationError:
        raise ValueError(f"{pattern!r} is not an expression the linear-time engine can run") from None
    return engine.is_valid


PATTERN_OPTIONS = jsonschema_rs.RegexOptions(size_limit=4_194_304, dfa_size_limit=4_194_304)
