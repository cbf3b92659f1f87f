"""CloudEvents 1.0 in and out: attributes become fields of our events, and fields become attributes again.

How this works: an event of ours is the `data` of a CloudEvent, whole, and its attributes follow from it: `id` is
`meta.id`, `source` is `meta.uri` or else `meta.domain`, `subject` is the stream, `time` is `dt` or else `meta.dt`,
`type` is the schema's title and `dataschema` the address of the schema. On the way in an attribute that does not follow
from the data fills the field it stands for where that is empty; where it is not, and for attributes without a field
such as extensions, it is kept in `meta.cloudevent`, from where it comes out again. So nothing is lost either way.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn
from urllib.parse import unquote, unquote_to_bytes, urlsplit

from headwater.consumption.framing import NOTICE_STREAM
from headwater.errors import ContentUnsupported, EventMalformed, HeadwaterError
from headwater.event import REPAIRED, decode_event, decode_json, encode_read
from headwater.times import rfc_3339
from headwater.web.http.headers import RawHeaders
from headwater.web.paths import MERGED, REPOSITORIES, SCHEMA_FOLDER

SPECIFICATION_VERSION = "1.0"
STRUCTURED, BATCH = b"application/cloudevents+json", b"application/cloudevents-batch+json"
BINARY_MARK = b"ce-specversion"
# Where attributes lie that no field of an event stands for.
KEPT = "cloudevent"
# All schemas of the platform, whichever repository they are in.
SCHEMAS_PATH = f"{REPOSITORIES}/{MERGED}/{SCHEMA_FOLDER}"

_NAME = re.compile(r"[a-z0-9]{1,40}")
# The standard library remembers the last addresses it took apart, however long they are; no schema has a longer one.
SCHEMA_CHARS_MAX = 2_048
_SCHEMA_URI = re.compile(r"(/[A-Za-z0-9._/-]+/\d+\.\d+\.\d+)(\.(?:json|yaml))?$")
_NOT_ATTRIBUTES = frozenset({"data", "data_base64", "specversion"})
_REQUIRED = ("id", "source", "type")
_HEADER_PREFIX = b"ce-"
# Content types that say nothing about the data of a CloudEvent in binary form.
_UNSAID = frozenset({b"", b"application/x-www-form-urlencoded"})
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class CloudEventsOut:
    """Makes CloudEvents of events. `url` is the platform's, which schemas are named under. Equal ones do the same."""

    url: str

    def __call__(self, event: dict[str, Any]) -> dict[str, Any]:
        """The CloudEvent of an event as a stream delivers it, in structured form. The event may be changed."""
        meta = event.get("meta")
        kept = meta.pop(KEPT, None) if isinstance(meta, dict) else None
        attributes = {"specversion": SPECIFICATION_VERSION, **attributes_of(event, self.url)}
        if isinstance(kept, Mapping):
            attributes.update((name, value) for name, value in kept.items() if _is_attribute(name, value))
        attributes.setdefault("datacontenttype", "application/json")
        return {**attributes, "data": event}


def attributes_of(event: Mapping[str, Any], url: str) -> dict[str, str]:
    """The attributes that follow from an event."""
    meta = event.get("meta")
    fields: Mapping[str, Any] = meta if isinstance(meta, Mapping) else {}
    stream, uri = _text(fields, "stream"), _text(event, "$schema")
    place = "/".join(str(fields[name]) for name in ("topic", "partition", "offset") if name in fields)
    derived = {
        "id": _text(fields, "id") or place,
        "source": _text(fields, "uri") or _text(fields, "domain") or (f"/v2/stream/{stream}" if stream else ""),
        "type": uri.strip("/").rpartition("/")[0] or (stream if stream == NOTICE_STREAM else ""),
        "subject": stream,
        "time": rfc_3339(_text(event, "dt")) or rfc_3339(_text(fields, "dt")) or "",
        "dataschema": f"{url}{SCHEMAS_PATH}{uri}" if uri.startswith("/") else uri,
        "partitionkey": _text(fields, "key"),
    }
    return {name: value for name, value in derived.items() if value}


def url_of(public_url: str | None, scheme: str, host: str) -> str:
    """How the client of a request reaches the platform, where the configuration does not say."""
    return (public_url or f"{scheme}://{host}").rstrip("/")


def form_of(headers: RawHeaders, content_type: bytes) -> bytes | None:
    """STRUCTURED, BATCH or BINARY_MARK, as a request's headers say; None where it has no CloudEvents."""
    media_type = content_type.partition(b";")[0].strip().lower()
    if media_type in (STRUCTURED, BATCH):
        return media_type
    return BINARY_MARK if any(name == BINARY_MARK for name, _ in headers) else None


@dataclass(frozen=True, slots=True)
class CloudEventsIn:
    """Makes events of CloudEvents. `is_stream` says whether a name is a stream's; `url` is as on the way out.

    `on_repaired` is told the stream of each whose text was not Unicode.
    """

    is_stream: Callable[[str], bool]
    url: str
    on_repaired: Callable[[str], None] = lambda _: None

    def events(
        self, form: bytes, headers: RawHeaders, slices: list[bytes]
    ) -> tuple[list[bytes], dict[int, HeadwaterError]]:
        """The JSON text of our event for that of each CloudEvent of a request, and why there is none for some of them.

        In the place of those stands what was received. Raises ContentUnsupported for a single one of another type.
        """
        attributes = _attributes_in(headers) if form == BINARY_MARK else None
        texts = list(slices)
        refused: dict[int, HeadwaterError] = {}
        for index, received in enumerate(slices):
            try:
                value, _, flags = decode_event(received)
                cloud = {**attributes, "data": value} if attributes is not None else value
                event = self.event(cloud, f" at {index}" if form == BATCH else "")
                texts[index], _ = encode_read(event)
                if flags & REPAIRED:
                    # It is Unicode when the Gate sees it.
                    self.on_repaired(event["meta"]["stream"])
            except ContentUnsupported as error:
                if form != BATCH:
                    raise
                refused[index] = error
            except EventMalformed as error:
                refused[index] = error
        return texts, refused

    def event(self, cloud: Any, where: str = "") -> dict[str, Any]:
        """The event of one structured CloudEvent; `where` is said in complaints. Raises EventMalformed."""
        given = _checked(cloud, where)
        event = _data_of(cloud, where)
        meta = event.get("meta", {})
        if not isinstance(meta, dict):
            _refuse(f"`data.meta`{where} is not an object.", "Leave it out, or make it one.")
        event["meta"] = meta = dict(meta)
        if not meta.get("stream"):
            named = (given.get(name) for name in ("stream", "subject", "type"))
            meta["stream"] = next((name for name in named if isinstance(name, str) and self.is_stream(name)), "")
            if not meta["stream"]:
                _refuse(
                    f"The CloudEvent{where} names no stream that is declared.",
                    "Name it in `data.meta.stream`, or in the attribute `stream`, `subject` or `type`.",
                )
        kept = {name: value for name, value in given.items() if not self._settle(event, meta, name, value)}
        if kept:
            meta[KEPT] = kept
        return event

    def _settle(self, event: dict[str, Any], meta: dict[str, Any], name: str, value: Any) -> bool:
        """Whether the event says what this attribute does, if need be from now on."""
        if name == "dataschema" and not event.get("$schema"):
            event["$schema"] = _schema_uri(str(value))
        if name == "datacontenttype":
            return bool(value == "application/json")
        if attributes_of(event, self.url).get(name) == value:
            return True
        holder, field = {"id": (meta, "id"), "source": (meta, "uri"), "time": (event, "dt")}.get(name, (None, ""))
        if holder is None or holder.get(field) not in (None, ""):
            return False
        holder[field] = value
        return True


def _checked(cloud: Any, where: str) -> dict[str, Any]:
    """The attributes of a CloudEvent, the version apart. Raises EventMalformed."""
    if not isinstance(cloud, dict):
        _refuse(f"The CloudEvent{where} is not an object.", "Send one JSON object for each event.")
    if cloud.get("specversion") != SPECIFICATION_VERSION:
        _refuse(f"The CloudEvent{where} has the version {cloud.get('specversion')!r}.", "Only 1.0 is understood.")
    for name in _REQUIRED:
        if not isinstance(cloud.get(name), str) or not cloud[name]:
            _refuse(f"The CloudEvent{where} has no `{name}`.", "It needs `id`, `source` and `type`.")
    given = {name: value for name, value in cloud.items() if name not in _NOT_ATTRIBUTES and value is not None}
    for name, value in given.items():
        if not _is_attribute(name, value):
            _refuse(
                f"The attribute {name!r}{where} cannot be one.", "Names are lower-case letters and digits; no objects."
            )
    return given


def _data_of(cloud: Mapping[str, Any], where: str) -> dict[str, Any]:
    media_type = str(cloud.get("datacontenttype") or "application/json").partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise ContentUnsupported(
            f"The data of the CloudEvent{where} is {media_type}.",
            hint="Events are JSON objects; send application/json.",
        )
    data = cloud.get("data")
    encoded = cloud.get("data_base64")
    if data is not None and encoded is not None:
        _refuse(f"The CloudEvent{where} has both `data` and `data_base64`.", "Send one of them.")
    if isinstance(encoded, str):
        try:
            data = decode_json(base64.b64decode(encoded, validate=True))
        except (binascii.Error, ValueError, EventMalformed) as error:
            _refuse(f"`data_base64`{where} is not JSON in base64: {error}", "Send `data`.")
    elif encoded is not None:
        _refuse(f"`data_base64`{where} is not text.", "Send `data`.")
    if not isinstance(data, dict):
        _refuse(f"The data of the CloudEvent{where} is not an object.", "An event is a JSON object.")
    return dict(data)


def json_type(form: bytes, headers: RawHeaders) -> bytes:
    """The content type of a request as plain JSON's, its charset kept; another one where the body is not JSON.

    The data of a CloudEvent in binary form is JSON where nothing says otherwise, as in structured form. Java's
    HttpURLConnection says application/x-www-form-urlencoded where the program says nothing.
    """
    content_type = next((value for name, value in headers if name == b"content-type"), b"")
    media_type, semicolon, parameters = content_type.partition(b";")
    media_type = media_type.strip().lower()
    if form == BINARY_MARK and not (media_type in _UNSAID or media_type.endswith(b"+json")):
        return content_type
    return b"application/json" + semicolon + parameters


def _attributes_in(headers: RawHeaders) -> dict[str, Any]:
    """The attributes of a CloudEvent in binary form. Raises EventMalformed for a value that is not UTF-8."""
    found: dict[str, Any] = {}
    for name, value in headers:
        if name.startswith(_HEADER_PREFIX):
            attribute = name.removeprefix(_HEADER_PREFIX).decode("latin-1")
            if attribute in found:
                _refuse(f"The header ce-{attribute} is there twice.", "Send each attribute once.")
            try:
                found[attribute] = _header_text(value)
            except UnicodeDecodeError:
                _refuse(f"The header ce-{attribute} is not UTF-8, percent-encoded.", "Encode it anew.")
        elif name == b"content-type" and value.partition(b";")[0].strip().lower() not in _UNSAID:
            found["datacontenttype"] = value.decode("utf-8", "replace")
    return found


def _header_text(value: bytes) -> str:
    """What a header means (HTTP binding 3.1.3.2): a quoted value is unquoted, then its percent signs are decoded."""
    if len(value) > 1 and value.startswith(b'"') and value.endswith(b'"'):
        value = _ESCAPED.sub(rb"\1", value[1:-1])
    return unquote_to_bytes(value).decode("utf-8")


def _schema_uri(dataschema: str) -> str:
    """The URI in a repository that an address of a schema means: the path behind what is known to lead there."""
    if len(dataschema) > SCHEMA_CHARS_MAX:
        return dataschema
    path = unquote(urlsplit(dataschema).path) or dataschema
    path = path.rpartition("/jsonschema/")[2]
    path = path if path.startswith("/") else f"/{path}"
    found = _SCHEMA_URI.fullmatch(path)
    return found[1] if found else dataschema


def _is_attribute(name: Any, value: Any) -> bool:
    is_named = isinstance(name, str) and _NAME.fullmatch(name) is not None and name not in _NOT_ATTRIBUTES
    return is_named and isinstance(value, str | int | bool)


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else ""


def _refuse(message: str, hint: str) -> NoReturn:
    raise EventMalformed(message, hint=hint or None)
