"""The answers of the legacy streamconfigs API, `action=streamconfigs`, without HTTP (streams.md, sections 1.6 and 1.7).

A request's parameters go in, the bytes of the body and the values of its headers come out.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any
from urllib.parse import unquote_plus

from headwater.streams import matching as legacy
from headwater.streams.legacy import constraints as legacy_constraints
from headwater.streams.stream import Stream

ACTION = "streamconfigs"
STREAMS_MAX = 250
STREAMS_MAX_HIGH = 500
CONSTRAINTS_MAX = 50
CONSTRAINTS_MAX_HIGH = 500
MAX_AGE_SECONDS = 600

JSON_TYPE = "application/json; charset=utf-8"
JAVASCRIPT_TYPE = "text/javascript; charset=utf-8"
HTML_TYPE = "text/html; charset=utf-8"

DOCUMENTATION = "See /?doc for the interface of this service."
MAILING_LIST = (
    "Subscribe to the mediawiki-api-announce mailing list at <https://lists.wikimedia.org/postorius/lists/"
    "mediawiki-api-announce.lists.wikimedia.org/> for notice of API deprecations and breaking changes."
)
# Parameters that MediaWiki accepts with any action, so there is no warning about them.
_FORMAT_PARAMETERS = ("action", "format", "formatversion", "callback", "utf8", "ascii")
_CORE_PARAMETERS = frozenset(
    (
        *_FORMAT_PARAMETERS,
        *("maxlag", "smaxage", "maxage", "assert", "assertuser", "origin", "crossorigin", "uselang", "variant"),
        *("requestid", "servedby", "curtimestamp", "responselanginfo", "errorformat", "errorlang", "errorsuselocal"),
    )
)
_OWN_PARAMETERS = ("streams", "constraints", "all_settings")
_NOT_IN_CALLBACKS = re.compile(r"[^\]\[.'\"_A-Za-z0-9]")
_SEPARATOR = "\x1f"
_MANGLED = str.maketrans({".": "_", " ": "_"})


@dataclass(frozen=True, slots=True)
class Parameters:
    """The parameters of a request as PHP reads them: the last of a name counts, `a[]=` is an array and has no text."""

    texts: Mapping[str, str]
    arrays: frozenset[str] = frozenset()
    names: Sequence[str] = ()

    @classmethod
    def parse(cls, query: str, form: str = "") -> Parameters:
        """From the raw query string and the raw body of a form; the form's values win."""
        texts: dict[str, str] = {}
        arrays: set[str] = set()
        names: dict[str, None] = {}
        for source in (form, query):
            own_texts, own_arrays = _read_pairs(source)
            for name in (*own_texts, *own_arrays):
                if name not in names:
                    texts |= {name: own_texts[name]} if name in own_texts else {}
                    arrays |= {name} & own_arrays
                    names[name] = None
        return cls(texts, frozenset(arrays), tuple(names))

    def get(self, name: str, default: str = "") -> str:
        return self.texts.get(name, default)

    def many(self, name: str) -> list[str] | None:
        """The values of a multi-value parameter; None if it is absent."""
        text = self.texts.get(name)
        if text is None:
            return None
        if text in ("", _SEPARATOR):
            return []
        return text[1:].split(_SEPARATOR) if text.startswith(_SEPARATOR) else text.split("|")


@dataclass(frozen=True, slots=True)
class ApiAnswer:
    """A body and the headers that describe it. The status is always 200; `error_code` identifies the error."""

    body: bytes
    content_type: str
    cache_control: str
    error_code: str | None = None


@dataclass(frozen=True, slots=True)
class _Warning:
    module: str
    code: str
    text: str


@dataclass(frozen=True)
class _Refusal(Exception):
    """`max_age_seconds` is how long the request allowed caching when it failed.

    `warnings` are those from before the failure. `by_printer`: the answer could not be printed as requested, so the
    default format is used.
    """

    code: str
    info: str
    data: Mapping[str, Any] = field(default_factory=dict)
    module: str = ACTION
    max_age_seconds: int = 0
    warnings: Sequence[_Warning] = ()
    by_printer: bool = False


def answer(entries: Sequence[Stream], parameters: Parameters) -> ApiAnswer:
    """The response of the API about `entries`, the streams and families in their order of declaration."""
    try:
        found, warnings = _found(entries, parameters)
    except _Refusal as refusal:
        return _refused(refusal, parameters)
    body: dict[str, Any] = {}
    if parameters.get("requestid"):
        body["requestid"] = parameters.get("requestid")
    if warnings:
        body["warnings"] = _warnings_block(warnings, parameters)
    body["streams"] = {name: {key: printed(value) for key, value in settings.items()} for name, settings in found}
    return _success(body, parameters)


def printed(value: Any) -> Any:
    """A value as the original prints it: an empty map is an empty list, a whole float has no fraction."""
    if isinstance(value, dict):
        return {key: printed(item) for key, item in value.items()} or []
    if isinstance(value, list):
        return [printed(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def select(
    entries: Sequence[Stream], names: Iterable[str] | None, expected: Mapping[Any, Any]
) -> list[tuple[str, dict[str, Any]]]:
    """(requested name, settings) of the requested entries that meet the constraints; None requests all."""
    by_name = {stream.name: stream for stream in entries}
    wanted_settings = legacy_constraints.container(expected)
    wanted = [(stream.name, stream) for stream in entries]
    if names is not None:
        wanted = [(name, stream) for name in dict.fromkeys(names) if (stream := _named(name, by_name, entries))]
    return [
        (name, legacy.entry(stream.name, stream.settings, name))
        for name, stream in wanted
        if not wanted_settings or legacy_constraints.meets(stream.name, stream.settings, wanted_settings)
    ]


def _named(name: str, by_name: Mapping[str, Stream], entries: Sequence[Stream]) -> Stream | None:
    if name in by_name:
        return by_name[name]
    return next((stream for stream in entries if stream.is_family and legacy.matches(stream.name, name)), None)


def _found(
    entries: Sequence[Stream], parameters: Parameters
) -> tuple[list[tuple[str, dict[str, Any]]], Sequence[_Warning]]:
    action = parameters.get("action")
    if action != ACTION:
        raise _Refusal("badvalue", f'Unrecognized value for parameter "action": {action}.', module="main")
    warnings = _warnings_of_parameters(parameters)
    names = _limited(parameters, warnings, "streams", STREAMS_MAX, STREAMS_MAX_HIGH)
    constraints = _limited(parameters, warnings, "constraints", CONSTRAINTS_MAX, CONSTRAINTS_MAX_HIGH) or ()
    try:
        found = select(entries, names, legacy_constraints.parse(dict.fromkeys(constraints)))
    except legacy_constraints.TooManyConstraints:
        limit = legacy_constraints.EXPECTATIONS_MAX
        info = f'Too many values supplied for parameter "constraints". The limit is {limit} in all.'
        limits = {"limit": limit, "lowlimit": limit, "highlimit": limit}
        raise _Refusal("toomanyvalues", info, limits, warnings=warnings) from None
    except legacy_constraints.ConstraintTypeError:
        info = "Caught exception of type TypeError: the name of a stream is text."
        data = {"errorclass": "TypeError"}
        raise _Refusal(
            "internal_api_error_TypeError", info, data, "main", max_age_seconds=MAX_AGE_SECONDS, warnings=warnings
        ) from None
    # Unread parameters are reported after the action; the format of the answer is checked when it is printed.
    warnings += _warnings_of_unknown(parameters)
    _require_format(parameters, warnings)
    return found, warnings


def _require_format(parameters: Parameters, warnings: Sequence[_Warning]) -> None:
    """The original fails to print the answer, fails again to print that failure, and then prints it in the default
    format.
    """
    version = parameters.get("formatversion", "2")
    if version in ("2", "latest"):
        return
    info = f'Unrecognized value for parameter "formatversion": {version}.'
    retried = _Warning("main", "errorprinterfailed", "Error printer failed (will retry without params).")
    raise _Refusal(
        "badvalue",
        info,
        module="json",
        max_age_seconds=MAX_AGE_SECONDS,
        warnings=[*warnings, retried, _Warning("json", "badvalue", info)],
        by_printer=True,
    )


def _limited(
    parameters: Parameters, warnings: Sequence[_Warning], name: str, limit: int, high: int
) -> list[str] | None:
    values = parameters.many(name)
    if values is not None and len(values) > limit:
        info = f'Too many values supplied for parameter "{name}". The limit is {limit}.'
        data = {"limit": limit, "lowlimit": limit, "highlimit": high}
        raise _Refusal("toomanyvalues", info, data, warnings=warnings)
    return values


def _warnings_of_parameters(parameters: Parameters) -> list[_Warning]:
    """The warnings about parameters, in the order in which they are read."""
    found = []
    for name in parameters.names:
        if name in parameters.arrays and name in (*_OWN_PARAMETERS, *_CORE_PARAMETERS):
            text = f'Parameter "{name}" uses unsupported PHP array syntax.'
            found.append(_Warning("main", "unsupportedarray", text))
    if "all_settings" in parameters.texts:
        text = 'The parameter "all_settings" has been deprecated.'
        found += [
            _Warning("main", "deprecation-help", MAILING_LIST),
            _Warning(ACTION, "deprecation", text),
        ]
    return found


def _warnings_of_unknown(parameters: Parameters) -> list[_Warning]:
    unknown = [name for name in parameters.names if name not in _CORE_PARAMETERS and name not in _OWN_PARAMETERS]
    text = f"Unrecognized parameter{'s' if len(unknown) > 1 else ''}: {', '.join(unknown)}."
    return [_Warning("main", "unrecognizedparams", text)] if unknown else []


def _warnings_block(warnings: Sequence[_Warning], parameters: Parameters) -> Any:
    if parameters.get("errorformat", "bc") != "bc":
        return [{"code": one.code, "text": one.text, "module": one.module} for one in warnings]
    block: dict[str, Any] = {}
    for one in warnings:
        earlier = block.get(one.module)
        block[one.module] = {"warnings": f"{earlier['warnings']}\n{one.text}" if earlier else one.text}
    return block


def _success(body: Mapping[str, Any], parameters: Parameters) -> ApiAnswer:
    text = _json(body, ascii_only="ascii" in parameters.texts)
    content_type = JSON_TYPE
    callback = _NOT_IN_CALLBACKS.sub("", parameters.get("callback"))
    if callback:
        text, content_type = f"/**/{callback}({text})", JAVASCRIPT_TYPE
    cache = f"max-age={MAX_AGE_SECONDS}, s-maxage={MAX_AGE_SECONDS}, public"
    return ApiAnswer(text.encode("utf-8", "replace"), content_type, cache)


def _refused(refusal: _Refusal, parameters: Parameters) -> ApiAnswer:
    cache = f"private, must-revalidate, max-age={refusal.max_age_seconds}"
    if parameters.get("format") in ("", "jsonfm"):
        code, info = escape(refusal.code), escape(refusal.info)
        page = (
            f'<!DOCTYPE html>\n<html lang="en">\n<head><meta charset="utf-8"><title>{code}</title></head>\n'
            f"<body><h1>{code}</h1>\n<p>{info}</p>\n<p>{DOCUMENTATION}</p></body>\n</html>\n"
        )
        return ApiAnswer(page.encode("utf-8", "replace"), HTML_TYPE, cache, refusal.code)
    newer = parameters.get("formatversion") in ("2", "latest")
    reference = {"docref" if newer else "*": DOCUMENTATION}
    body: dict[str, Any] = {}
    if parameters.get("requestid"):
        body["requestid"] = parameters.get("requestid")
    if refusal.warnings:
        body["warnings"] = _warnings_block(refusal.warnings, parameters)
    if parameters.get("errorformat", "bc") == "bc":
        body |= {"error": {"code": refusal.code, "info": refusal.info, **refusal.data, **reference}}
    else:
        data = {"data": dict(refusal.data)} if refusal.data else {}
        text = {"text" if newer else "*": refusal.info}
        body |= {"errors": [{"code": refusal.code, **text, **data, "module": refusal.module}], **reference}
    text_of_body = _json(body, ascii_only=refusal.by_printer or "ascii" in parameters.texts)
    return ApiAnswer(text_of_body.encode("utf-8", "replace"), JSON_TYPE, cache, refusal.code)


def _json(body: Any, *, ascii_only: bool) -> str:
    return json.dumps(body, ensure_ascii=ascii_only, separators=(",", ":"))


def _read_pairs(source: str) -> tuple[dict[str, str], set[str]]:
    texts: dict[str, str] = {}
    arrays: set[str] = set()
    for pair in source.split("&"):
        written, _, value = pair.partition("=")
        name, bracket, _ = _decoded(written).lstrip(" ").partition("[")
        name = name.translate(_MANGLED)
        if not name:
            continue
        if bracket:
            arrays.add(name)
            texts.pop(name, None)
        else:
            texts[name] = _decoded(value)
            arrays.discard(name)
    return texts, arrays


def _decoded(text: str) -> str:
    return unicodedata.normalize("NFC", unquote_plus(text, errors="replace"))
