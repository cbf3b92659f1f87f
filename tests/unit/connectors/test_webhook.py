"""Requests to a webhook are read only if they are signed as its source demands, in any of the usual ways."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.connectors.registry import source_spec
from headwater.connectors.source_spec import Receiver, SourceContext
from headwater.declaration import Declaration
from headwater.errors import ConfigInvalid, EventMalformed, RequestTooLarge, SignatureInvalid, SourceRefused

SECRET = "s3cret ü"
BODY = orjson.dumps({"number": 1})
NOW = 1_700_000_000.0
REFUSAL = "The signature of the request is not valid."


def receiver(**options: Any) -> Receiver:
    spec = source_spec("webhook")
    assert spec.receive is not None
    if options.get("signature") != "none":
        options = {"secret": SECRET, **options}
    return spec.receive(spec.options(**options))


def digest(signed: bytes, algorithm: str = "sha256", secret: str = SECRET) -> bytes:
    return hmac.new(secret.encode(), signed, getattr(hashlib, algorithm)).digest()


# The options of a source, and the headers of a request that is signed so.
STYLES: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "the default": ({}, {"x-signature": digest(BODY).hex()}),
    "with a prefix": (
        {"signature_header": "X-Hub-Signature-256", "signature_prefix": "sha256="},
        {"x-hub-signature-256": f"sha256={digest(BODY).hex()}"},
    ),
    "upper case": ({}, {"x-signature": digest(BODY).hex().upper()}),
    "sha1": ({"algorithm": "sha1"}, {"x-signature": digest(BODY, "sha1").hex()}),
    "sha384": ({"algorithm": "sha384"}, {"x-signature": digest(BODY, "sha384").hex()}),
    "sha512": ({"algorithm": "sha512"}, {"x-signature": digest(BODY, "sha512").hex()}),
    "base64": ({"signature_encoding": "base64"}, {"x-signature": base64.b64encode(digest(BODY)).decode()}),
    "with a time": (
        {
            "signature_header": "x-service-signature",
            "signature_prefix": "v0=",
            "timestamp_header": "X-Request-Timestamp",
            "signed": "v0:{timestamp}:{body}",
        },
        {
            "x-service-signature": f"v0={digest(b'v0:1700000000:' + BODY).hex()}",
            "x-request-timestamp": "1700000000",
        },
    ),
    "with a time in milliseconds, at the end": (
        {"timestamp_header": "x-time", "signed": "{body}.{timestamp}"},
        {"x-signature": digest(BODY + b".1700000001234").hex(), "x-time": "1700000001234"},
    ),
    "several signatures": ({}, {"x-signature": f"00ff, {digest(BODY).hex()}"}),
    "with the secret before": (
        {"secret": "new one", "old_secret": SECRET},
        {"x-signature": digest(BODY).hex()},
    ),
    "with the new secret": (
        {"secret": SECRET, "old_secret": "old one"},
        {"x-signature": digest(BODY).hex()},
    ),
}


@pytest.mark.parametrize("style", STYLES)
def test_a_request_that_is_signed_is_read(style: str) -> None:
    options, headers = STYLES[style]
    receiver(**options).check(headers, BODY, NOW)


@pytest.mark.parametrize("style", STYLES)
def test_anything_else_is_refused_without_saying_why(style: str) -> None:
    options, headers = STYLES[style]
    name = options.get("signature_header", "x-signature").lower()
    one = receiver(**options)
    others: list[tuple[Mapping[str, str], bytes]] = [
        (headers, BODY + b" "),
        (headers, b""),
        ({}, BODY),
        (headers | {name: ""}, BODY),
        (headers | {name: headers[name][:-1]}, BODY),
        (headers | {name: "ü"}, BODY),
        (headers | {name: options.get("signature_prefix", "")}, BODY),
        (headers | {name: f"{headers[name]}0"}, BODY),
    ]
    others += [({key: value for key, value in headers.items() if key != left_out}, BODY) for left_out in headers]
    for given_headers, body in others:
        with pytest.raises(SignatureInvalid) as refused:
            one.check(given_headers, body, NOW)
        assert (refused.value.message, refused.value.hint) == (REFUSAL, None)


def test_a_prefix_is_required() -> None:
    with pytest.raises(SignatureInvalid):
        receiver(signature_prefix="sha256=").check({"x-signature": digest(BODY).hex()}, BODY, NOW)


@pytest.mark.parametrize("text", ["1699999000", "1700001000", "", "x", "-1700000000", "1e9", "1700000000.5", "٠"])
def test_a_request_of_another_time_is_refused_although_it_is_signed(text: str) -> None:
    one = receiver(timestamp_header="x-time", signed="{timestamp}.{body}")
    headers = {"x-time": text, "x-signature": digest(f"{text}.".encode() + BODY).hex()}
    with pytest.raises(SignatureInvalid):
        one.check(headers, BODY, NOW)


@pytest.mark.parametrize("seconds", [-300, -1, 0, 1, 300])
def test_a_request_may_be_as_old_as_the_tolerance(seconds: int) -> None:
    one = receiver(timestamp_header="x-time", signed="{timestamp}.{body}")
    text = str(1_700_000_000 + seconds)
    one.check({"x-time": text, "x-signature": digest(f"{text}.".encode() + BODY).hex()}, BODY, NOW)


@given(body=st.binary(max_size=200), secret=st.text(min_size=1, max_size=20), other=st.binary(max_size=200))
def test_a_signature_is_valid_for_its_body_and_its_secret_only(body: bytes, secret: str, other: bytes) -> None:
    headers = {"x-signature": digest(body, secret=secret).hex()}
    receiver(secret=secret).check(headers, body, NOW)
    if other != body:
        with pytest.raises(SignatureInvalid):
            receiver(secret=secret).check(headers, other, NOW)
    with pytest.raises(SignatureInvalid):
        receiver(secret=f"{secret}x").check(headers, body, NOW)


@pytest.mark.parametrize(
    ("options", "body", "expected"),
    [
        ({}, {"a": 1}, [({"a": 1}, None)]),
        ({}, [{"a": 1}, {"a": 2}], [({"a": 1}, None), ({"a": 2}, None)]),
        ({}, [], []),
        ({"events": "data.items"}, {"data": {"items": [{"a": 1}]}}, [({"a": 1}, None)]),
        ({"events": "data"}, {"data": {"a": 1}}, [({"a": 1}, None)]),
        ({"id": "key"}, [{"key": "x"}, {"key": 7}], [({"key": "x"}, "x"), ({"key": 7}, "7")]),
        ({"id_header": "X-Delivery"}, {"a": 1}, [({"a": 1}, "d1")]),
        ({"id_header": "x-delivery"}, [{"a": 1}, {"a": 2}], [({"a": 1}, "d1/0"), ({"a": 2}, "d1/1")]),
    ],
)
def test_the_events_of_a_body(options: Mapping[str, Any], body: Any, expected: Any) -> None:
    found = receiver(**options).deliveries({"x-delivery": "d1"}, orjson.dumps(body))
    assert [(one.value, one.event_id) for one in found] == expected
    assert not any(one.problem for one in found)


def test_what_cannot_be_an_event_is_delivered_with_the_reason() -> None:
    found = receiver(id="key").deliveries({}, b'[{"key": 1}, 7, null, {"a": 1}, {"key": true}, {"key": {}}]')
    assert [bool(one.problem) for one in found] == [False, True, True, True, True, True]
    assert [one.raw for one in found][1:4] == [b"7", b"null", b'{"a":1}']


@pytest.mark.parametrize(
    ("options", "body", "error"),
    [
        ({}, b"", EventMalformed),
        ({}, b"no JSON", EventMalformed),
        ({"events": "data"}, b"{}", EventMalformed),
        ({"events": "data"}, b"[]", EventMalformed),
        ({"id_header": "x-other"}, b"{}", EventMalformed),
        ({"events_max": 2}, b"[{},{},{}]", RequestTooLarge),
        ({}, b"[" * 100_000 + b"]" * 100_000, EventMalformed),
    ],
)
def test_a_body_without_events_is_refused(options: Mapping[str, Any], body: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        receiver(**options).deliveries({"x-delivery": "d1"}, body)


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ({}, "needs a secret"),
        ({"secret": "plain"}, "reference"),
        ({"secret": "${env:A}", "old_secret": "plain"}, "reference"),
        ({"signature": "none", "secret": "${env:A}"}, "no meaning"),
        ({"secret": "${env:A}", "timestamp_header": "x-time"}, "not signed"),
        ({"secret": "${env:A}", "signed": "{timestamp}{body}"}, "needs its header"),
        ({"secret": "${env:A}", "signed": "{bod}"}, "{body}"),
        ({"secret": "${env:A}", "signed": "{body}{body}"}, "{body}"),
        ({"secret": "${env:A}", "signature_header": "x signature"}, "header"),
        ({"secret": "${env:A}", "id": "a", "id_header": "b"}, "not by both"),
        ({"secret": "${env:A}", "algorithm": "md5"}, "algorithm"),
        ({"secret": "${env:A}", "signature_heder": "x"}, "signature_header"),
    ],
)
def test_options_that_do_not_go_together_are_refused(written: Mapping[str, Any], why: str) -> None:
    with pytest.raises(ConfigInvalid) as refused:
        source_spec("webhook").read(written, Declaration("sources/hook.yaml", written), ())
    assert why in f"{refused.value} {refused.value.hint}"


def test_nothing_is_read_from_it(tmp_path: Any) -> None:
    spec = source_spec("webhook")
    with pytest.raises(SourceRefused, match="posted"):
        spec.make(spec.options(), SourceContext("hook", tmp_path))
