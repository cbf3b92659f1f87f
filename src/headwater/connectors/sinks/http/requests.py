"""The request that is sent for an event: its address, headers and body, from templates."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from headwater.connectors.contract import Delivery
from headwater.connectors.credentials import SECRET_HEADERS, refuse_credentials
from headwater.connectors.templates import Template, parsed_values, paths_of, rendered_values
from headwater.errors import ConfigInvalid, EventMalformed
from headwater.event import encode_json
from headwater.settings import setting

METHOD = re.compile(r"[A-Z][A-Z-]{0,31}")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
# What no header may contain: a value with a line break would be several headers.
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
WITHOUT_BODY = frozenset(("GET", "HEAD", "DELETE", "PURGE"))
RETRIED = (408, 425, 429, 500, 502, 503, 504)


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """The options of an HTTP sink."""

    url: str | None = setting(
        None,
        "The address, with fields of the event in braces, such as `https://shop.example/orders/{id}`. Their values are"
        " percent-encoded, except where the whole address is a field, such as `{meta.uri}`.",
    )
    secret_url: str | None = setting(
        None, "The address, where it is itself a secret, as of many web hooks.", secret=True
    )
    hosts: tuple[str, ...] = setting(
        (),
        "Required where the host is a field of the event: the hosts that requests may go to; `.example.org` is all"
        " below it.",
    )
    method: str = setting("POST", "The method: any, such as `PUT` or `PURGE`.")
    headers: Mapping[str, str] = setting({}, "Headers; values may have fields of the event in braces.")
    authorization: str | None = setting(None, "The value of the header `Authorization`.", secret=True)
    secret_headers: Mapping[str, Any] = setting(
        {}, "Headers that are secrets, such as `X-Api-Key`; they are sent as they are.", secret=True
    )
    body: Mapping[str, Any] | tuple[Any, ...] | str | None = setting(
        None,
        "The body: a JSON object or list whose texts may have fields of the event in braces, such as `{text: 'Order"
        " {id}'}`, where a text that is nothing but a field has its value; or a plain text with such fields. Null: the"
        " event, or nothing if the method is GET, HEAD, DELETE or PURGE.",
    )
    sign_with: str | None = setting(
        None,
        "A key with which bodies are signed: `X-Signature-256: sha256=` and the HMAC-SHA256 of the body in hexadecimal"
        " digits.",
        secret=True,
    )
    succeed_on: tuple[int, ...] = setting(
        (), "Statuses besides 200 to 299 that are a success, such as 404 of a DELETE."
    )
    retry_on: tuple[int, ...] = setting(
        RETRIED, "Statuses after which a request is sent again; any other makes an error event."
    )
    concurrency: int = setting(8, "How many requests are under way at once.", at_least=1, at_most=1000)
    repeat_after_seconds: float | None = setting(
        None,
        "An event is left out if one with the same `key`, or without one the same `meta.id`, was sent within so many"
        " seconds before. A restart forgets what was sent. Null: each event is sent.",
        at_least=0.001,
    )
    requests_per_second_max: float | None = setting(None, "How many requests are begun in a second.", at_least=0.001)
    timeout_seconds: float = setting(30.0, "How long an answer may take.", at_least=0.01)

    def __post_init__(self) -> None:
        """Raises ConfigInvalid for what no request can be made from."""
        if (self.url is None) == (self.secret_url is None):
            raise ConfigInvalid("An HTTP sink has either `url` or `secret_url`.")
        if not METHOD.fullmatch(self.method):
            raise ConfigInvalid(f"{self.method!r} is no method.", hint="Such as POST or PURGE, in capital letters.")
        names = [name.lower() for name in (*self.headers, *self.secret_headers)]
        for name in (*self.headers, *self.secret_headers):
            if not _HEADER_NAME.fullmatch(name):
                raise ConfigInvalid(f"{name!r} is no name of a header.")
            if name.lower() == "authorization":
                raise ConfigInvalid("Write the header Authorization as the option `authorization`, a secret.")
            if names.count(name.lower()) > 1:
                raise ConfigInvalid(f"The header {name} is written twice.")
        for name in self.headers:
            if name.lower() in SECRET_HEADERS:
                raise ConfigInvalid(
                    f"The header {name} is a secret.",
                    hint=f"Write it under `secret_headers`, as `{name}: ${{env:NAME}}`.",
                )
        RequestMaker(self)


class Prepared(NamedTuple):
    """A request to send. `shown` is how errors name it, and `host` whose it is."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None
    host: str
    shown: str


class RequestMaker:
    """Makes the request of an event."""

    def __init__(self, options: HttpOptions) -> None:
        """Raises ConfigInvalid for an address or a template that cannot be one."""
        self._options = options
        self._is_secret = options.url is None
        # A reference that is not resolved yet is no address.
        written = options.url or ""
        self._url = Template.parse(written) if not self._is_secret else None
        if self._url is not None:
            self._check_address(self._url)
        self._headers = {name: Template.parse(value) for name, value in options.headers.items()}
        for name, template in self._headers.items():
            if _CONTROLS.search(template.text):
                raise ConfigInvalid(f"The header {name} contains control characters.", hint="Write it in one line.")
        for name, secret in options.secret_headers.items():
            if _CONTROLS.search(str(secret)) or not str(secret).isascii():
                raise ConfigInvalid(
                    f"The secret header {name} contains control characters or letters beyond ASCII.",
                    hint="Write it in one line, where its reference says.",
                )
        self._body = None if options.body is None else parsed_values(options.body)

    @property
    def fields(self) -> Sequence[str]:
        """The dotted paths of the fields that requests are made of."""
        return tuple(dict.fromkeys(paths_of([self._url, *self._headers.values(), self._body])))

    def made(self, delivery: Delivery) -> Prepared:
        """Raises EventMalformed if a field is absent, or its value cannot be part of an address or a header."""
        event = delivery.value
        options = self._options
        url = str(options.secret_url) if self._url is None else self._address(self._url, event)
        host = _host(url)
        if host is None:
            raise EventMalformed(f"{'The address' if self._is_secret else repr(url)} is no http(s) address.")
        if options.hosts and not _is_allowed(host, options.hosts):
            raise EventMalformed(f"Requests may not go to the host {host}.", hint="`hosts` lists those they may go to.")
        body = self._bytes(event)
        kind = "text/plain; charset=utf-8" if isinstance(self._body, Template) else "application/json"
        headers = {"Content-Type": kind} if body is not None else {}
        if delivery.event_id is not None and not _CONTROLS.search(delivery.event_id):
            headers["Idempotency-Key"] = quote(delivery.event_id, safe=":/-._~")
        headers |= {name: _header(name, template.render(event)) for name, template in self._headers.items()}
        headers |= {name: str(secret) for name, secret in options.secret_headers.items()}
        if options.authorization is not None:
            headers["Authorization"] = options.authorization
        if options.sign_with is not None:
            digest = hmac.new(options.sign_with.encode(), body or b"", hashlib.sha256).hexdigest()
            headers["X-Signature-256"] = f"sha256={digest}"
        shown = f"{options.method} {'https://…' if self._is_secret else url}"
        return Prepared(options.method, url, headers, body, host, shown)

    def _address(self, template: Template, event: Mapping[str, Any]) -> str:
        if template.only_field is not None:
            url = template.render(event)
            if _CONTROLS.search(url) or " " in url:
                raise EventMalformed(f"{template.only_field} is no address: it contains spaces or control characters.")
            # A fragment is no part of what is sent.
            return url.partition("#")[0]
        return template.render(event, lambda text: quote(text, safe=""))

    def _bytes(self, event: Mapping[str, Any]) -> bytes | None:
        if isinstance(self._body, Template):
            return self._body.render(event).encode("utf-8", "replace")
        if self._body is not None:
            return encode_json(rendered_values(self._body, event))
        return None if self._options.method in WITHOUT_BODY else encode_json(event)

    def _check_address(self, template: Template) -> None:
        """The scheme and host are written, or `hosts` says which hosts are meant."""
        beginning = template.parts[0] if template.parts else ""
        if isinstance(beginning, str):
            refuse_credentials(beginning, "authorization", "authorization")
            host = _host(beginning)
            after = beginning.partition("//")[2]
            # The host is complete if something follows it, or no field does.
            if host is not None and (len(template.parts) == 1 or re.search(r"[/?]", after)):
                return
            if not beginning.startswith(("http://", "https://")):
                raise ConfigInvalid(
                    f"{template.text!r} is no http(s) address.", hint="Such as `https://shop.example/orders/{id}`."
                )
        if not self._options.hosts:
            raise ConfigInvalid(
                f"The host of {template.text!r} is a field of the event, and `hosts` does not say which it may be.",
                hint="Such as `hosts: [shop.example, .wikipedia.org]`.",
            )


def _header(name: str, value: str) -> str:
    if _CONTROLS.search(value):
        raise EventMalformed(f"The header {name} would contain control characters.")
    # Headers are bytes; letters of other alphabets are percent-encoded.
    return value if value.isascii() else quote(value, safe="!#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ \"")


def _host(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        return parts.hostname.lower() if parts.scheme in ("http", "https") and parts.hostname else None
    except ValueError:
        return None


def _is_allowed(host: str, hosts: tuple[str, ...]) -> bool:
    return any(host.endswith(one.lower()) if one.startswith(".") else host == one.lower() for one in hosts)
