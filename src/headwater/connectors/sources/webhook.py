"""Takes what other services post to the platform: `connector: webhook`.

How this works: the platform answers at `/v1/webhooks/NAME` whether or not any job runs. The signature of a request is
checked before its body is read as JSON, in constant time; the events then take the way of those of producers.
"""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

from headwater.connectors.contract import Delivery, Source, SourceFeatures
from headwater.connectors.source_spec import SourceContext, SourceSpec
from headwater.declaration import Declaration
from headwater.errors import EventMalformed, RequestTooLarge, SignatureInvalid, SourceRefused
from headwater.event import decode_json, encode_json, get_path
from headwater.settings import setting

BODY, TIMESTAMP = "{body}", "{timestamp}"
# How many signatures of one request are compared, such as while a secret is replaced by another.
SIGNATURES_MAX = 8
# Later times are in milliseconds.
SECONDS_BELOW = 100_000_000_000
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_TIME = re.compile(r"[0-9]{1,16}")


@dataclass(frozen=True, slots=True)
class WebhookOptions:
    """How requests are signed, and where the events are in them."""

    signature: Literal["hmac", "none"] = setting(
        "hmac",
        "How requests are signed. `none`: not at all, so that everybody who reaches the address can send events, unless"
        " they need an API key.",
    )
    secret: str | None = setting(None, "The secret that the sender signs with.", secret=True)
    old_secret: str | None = setting(
        None, "Another secret that is accepted, while the sender changes to a new one.", secret=True
    )
    algorithm: Literal["sha256", "sha384", "sha512", "sha1"] = setting("sha256", "The hash function of the HMAC.")
    signature_header: str = setting(
        "x-signature", "The header with the signature, such as `x-hub-signature-256`; several are separated by commas."
    )
    signature_prefix: str = setting("", "What precedes a signature in its header, such as `sha256=`.")
    signature_encoding: Literal["hex", "base64"] = setting("hex", "How the signature is written.")
    signed: str = setting(
        BODY, "What is signed: `{body}`, with `{timestamp}` where that is signed, too, such as `v0:{timestamp}:{body}`."
    )
    timestamp_header: str | None = setting(
        None, "The header with the time of the request (epoch, seconds or milliseconds), which is signed, too."
    )
    tolerance_seconds: float = setting(
        300.0,
        "How far the time of a request may be from now, so that a recorded one is soon refused.",
        at_least=1,
        at_most=86_400,
    )
    events: str = setting("", "The dotted path of the event, or the list of events, in the body; empty: the body is.")
    id: str | None = setting(
        None,
        "The dotted path of a field that identifies an event, which is stored once however often it is sent. null:"
        " `meta.id` where there is one.",
    )
    id_header: str | None = setting(None, "The header that identifies a request instead, such as `x-github-delivery`.")
    body_bytes_max: int = setting(
        1_048_576, "The largest body; `intake.request_bytes_max` holds, too.", at_least=1, at_most=1_073_741_824
    )
    events_max: int = setting(1_000, "The most events of one request.", at_least=1, at_most=100_000)


class WebhookReceiver:
    """Checks requests and finds the events in them."""

    def __init__(self, options: WebhookOptions) -> None:
        self._options = options
        self._keys = [one.encode() for one in (options.secret, options.old_secret) if one]
        self._header = options.signature_header.lower()
        self._time_header = options.timestamp_header and options.timestamp_header.lower()
        self._id_header = options.id_header and options.id_header.lower()
        self._before, _, self._after = options.signed.partition(BODY)

    @property
    def body_bytes_max(self) -> int:
        return self._options.body_bytes_max

    @property
    def is_signed(self) -> bool:
        return self._options.signature != "none"

    def check(self, headers: Mapping[str, str], body: bytes, now: float) -> None:
        """Raises SignatureInvalid, always with the same text."""
        if not self.is_signed:
            return
        timestamp = self._timestamp(headers, now)
        signed = b"".join((self._filled(self._before, timestamp), body, self._filled(self._after, timestamp)))
        expected = [self._written(hmac.digest(key, signed, self._options.algorithm)) for key in self._keys]
        given = [self._given(one) for one in headers.get(self._header, "").split(",", SIGNATURES_MAX)]
        # Each is compared with each, so that the time says nothing.
        equal = [hmac.compare_digest(one, other) for one in given[:SIGNATURES_MAX] for other in expected]
        if not any(equal):
            _refuse()

    def deliveries(self, headers: Mapping[str, str], body: bytes) -> Sequence[Delivery]:
        """The events of a body, which is JSON in UTF-8. Raises EventMalformed, RequestTooLarge."""
        options = self._options
        value = decode_json(body)
        found = get_path(value, options.events) if options.events else value
        if found is None and options.events:
            raise EventMalformed(f"The body has nothing at {options.events!r}.")
        items = found if isinstance(found, list) else [found]
        if len(items) > options.events_max:
            raise RequestTooLarge(f"The request has {len(items):,} events, more than {options.events_max:,}.")
        request_id: str | None = None
        if self._id_header is not None:
            request_id = headers.get(self._id_header, "").strip()
            if not request_id:
                raise EventMalformed(f"The request has no header {self._id_header}, which identifies it.")
        return [self._delivery(item, index, len(items), request_id) for index, item in enumerate(items)]

    def _delivery(self, item: Any, index: int, count: int, request_id: str | None) -> Delivery:
        if not isinstance(item, dict):
            return Delivery({}, raw=encode_json(item), problem="It is not a JSON object.")
        if request_id is not None:
            return Delivery(item, request_id if count == 1 else f"{request_id}/{index}")
        if self._options.id is None:
            return Delivery(item)
        own = get_path(item, self._options.id)
        if own is None or isinstance(own, bool | dict | list):
            return Delivery({}, raw=encode_json(item), problem=f"It has no id at {self._options.id!r}.")
        return Delivery(item, str(own))

    def _timestamp(self, headers: Mapping[str, str], now: float) -> str:
        if self._time_header is None:
            return ""
        text = headers.get(self._time_header, "").strip()
        if not _TIME.fullmatch(text):
            _refuse()
        at = int(text) if int(text) < SECONDS_BELOW else int(text) / 1000
        if abs(now - at) > self._options.tolerance_seconds:
            _refuse()
        return text

    def _given(self, written: str) -> bytes:
        """One signature as it is compared; b"" without its prefix, which is equal to none."""
        prefix = self._options.signature_prefix
        text = written.strip()
        if not text.startswith(prefix):
            return b""
        text = text.removeprefix(prefix)
        return (text.lower() if self._options.signature_encoding == "hex" else text).encode()

    def _written(self, digest: bytes) -> bytes:
        return digest.hex().encode() if self._options.signature_encoding == "hex" else base64.b64encode(digest)

    def _filled(self, text: str, timestamp: str) -> bytes:
        return text.replace(TIMESTAMP, timestamp).encode()


def _refuse() -> NoReturn:
    # What exactly is wrong would help only those who guess.
    raise SignatureInvalid("The signature of the request is not valid.")


def _not_read(options: WebhookOptions, context: SourceContext) -> Source:
    raise SourceRefused(f"The source {context.name} reads nothing: its events are posted to the platform.")


def _check(options: WebhookOptions, source: Declaration) -> None:
    if options.signature == "none" and (options.secret or options.timestamp_header):
        raise source.refusal(("signature",), "without a signature, `secret` and `timestamp_header` have no meaning.")
    if options.signature == "hmac" and not options.secret:
        hint = "Write it as `${env:NAME}` or `${file:PATH}`; `signature: none` accepts requests of everybody."
        raise source.refusal((), "it needs a secret.", hint=hint)
    for key in ("signature_header", "timestamp_header", "id_header"):
        name = getattr(options, key)
        if name is not None and not _HEADER.fullmatch(name):
            raise source.refusal((key,), f"{name!r} cannot name a header.")
    if options.signed.count(BODY) != 1:
        raise source.refusal(("signed",), "`signed` must have `{body}` once.")
    if (TIMESTAMP in options.signed) is not (options.timestamp_header is not None):
        hint = "Such as `timestamp_header: x-request-timestamp` and `signed: v0:{timestamp}:{body}`."
        message = "a time that is not signed protects from nothing, and one that is signed needs its header."
        raise source.refusal(("signed",), message, hint=hint)
    if options.id is not None and options.id_header is not None:
        raise source.refusal(("id_header",), "events are identified by `id` or by `id_header`, not by both.")


SPEC = SourceSpec(
    name="webhook",
    summary="Takes events that other services post to `/v1/webhooks/NAME`.",
    options=WebhookOptions,
    make=_not_read,
    features=SourceFeatures(),
    check=_check,
    receive=WebhookReceiver,
    example="""\
connector: webhook
secret: ${env:FORGE_SECRET}
signature_header: x-hub-signature-256
signature_prefix: sha256=
id_header: x-github-delivery
stream: forge.push
""",
)
