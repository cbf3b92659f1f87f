"""What sources that are asked over HTTP share: the headers they send, and what a refusal means."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx

from headwater import __version__
from headwater.connectors.credentials import SECRET_HEADERS
from headwater.connectors.source_spec import SourceContext
from headwater.declaration import Declaration
from headwater.errors import HeadwaterError, PositionLost, SourceRefused, SourceUnavailable
from headwater.retry_after import retry_after_seconds

SHOWN_CHARS_MAX = 300


def check_written(url: str, headers: Mapping[str, Any], source: Declaration) -> None:
    """Refuse an address with a password, and secrets among the headers that are shown. Raises ConfigInvalid."""
    parts = urlsplit(url)
    if parts.username or parts.password:
        raise source.refusal(("url",), "url has a password in it.", hint="Use `secret_headers: {authorization: …}`.")
    for name in headers:
        if name.lower() in SECRET_HEADERS:
            hint = "Write it under `secret_headers`, as `${env:NAME}` or `${file:PATH}`."
            raise source.refusal(("headers", name), f"the header {name} is a secret.", hint=hint)


def headers_of(context: SourceContext, *more: Mapping[str, Any]) -> dict[str, str]:
    """The headers of a request; those that are given later win."""
    contact = f" ({context.contact})" if context.contact else ""
    found = {"user-agent": f"Headwater/{__version__}{contact} httpx/{httpx.__version__}"}
    for headers in more:
        found |= {name.lower(): str(value) for name, value in headers.items()}
    return found


def refusal_of(answer: httpx.Response, body: bytes = b"") -> HeadwaterError:
    """The error of an answer that is not a success: to ask again, to stop, or to have the operator change something."""
    said = body[:SHOWN_CHARS_MAX].decode("utf-8", "replace").strip()
    what = f"{_address(answer)} answered {answer.status_code} {answer.reason_phrase}" + (f": {said}" if said else "")
    if answer.status_code == httpx.codes.GONE:
        return PositionLost(f"{what}.")
    if answer.status_code in (408, 425, 429) or answer.status_code >= 500:
        pause = retry_after_seconds(answer.headers, time.time()) or 0.0
        return SourceUnavailable(f"{what}.", back_off_seconds=pause)
    return SourceRefused(f"{what}.", hint="Correct the options of the source, or what the server allows it.")


def unreachable(url: str, error: httpx.HTTPError) -> SourceUnavailable:
    """The error of a request that got no answer."""
    parts = urlsplit(url)
    return SourceUnavailable(f"{parts.scheme}://{parts.netloc} does not answer: {error or type(error).__name__}.")


def _address(answer: httpx.Response) -> str:
    # Without the query, which may have a secret.
    return str(answer.request.url.copy_with(query=None))
