"""Requests to a running platform over HTTP, for the verbs that report its state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TextIO
from urllib.parse import urlsplit

import httpx

from headwater.cli.console import called_as
from headwater.errors import ConfigInvalid, KeyRequired, LogUnavailable, ScopeMissing, StreamUnknown

ANSWER_SECONDS_MAX = 60.0


def headers_with(key_file: TextIO | None) -> dict[str, str]:
    """The headers of requests that are made with the key in a file."""
    key = key_in(key_file)
    return {} if key is None else {"authorization": f"Bearer {key}"}


def key_in(key_file: TextIO | None) -> str | None:
    """The key in a file; None if no file is named."""
    return None if key_file is None else key_file.read().strip()


def ask(
    server: str, path: str, params: Sequence[tuple[str, str]], headers: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The JSON answer to a GET. Raises ConfigInvalid (no address), StreamUnknown (refused), LogUnavailable."""
    return _answer(server, path, headers, params=list(params))


def jobs_at(server: str, key_file: TextIO | None) -> dict[str, dict[str, Any]]:
    """How the jobs of a running platform are, by name, as far as the key shows them. Raises as `ask`."""
    return {job["name"]: job for job in ask(server, "/v1/jobs", [], headers_with(key_file))["jobs"]}


def change(
    server: str, path: str, body: Mapping[str, Any], headers: Mapping[str, str] | None = None, *, dry_run: bool = False
) -> dict[str, Any]:
    """The JSON answer to a POST of this body. Raises as `ask`."""
    return _answer(server, path, headers, body=body, params=[("dry_run", "true")] if dry_run else [])


def _answer(
    server: str,
    path: str,
    headers: Mapping[str, str] | None,
    *,
    params: Sequence[tuple[str, str]],
    body: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    address = server if "://" in server else f"http://{server}"
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ConfigInvalid(
            f"{server!r} is not a server address.", hint="Use an address such as http://localhost:8080."
        )
    try:
        response = httpx.request(
            "GET" if body is None else "POST",
            f"{address.rstrip('/')}{path}",
            params=list(params),
            json=body,
            headers=headers,
            timeout=ANSWER_SECONDS_MAX,
        )
    except httpx.HTTPError as error:
        raise LogUnavailable(
            f"{server} does not answer: {error or type(error).__name__}.",
            hint="Start it with `headwater up`, or name another with --server.",
        ) from None
    try:
        answer: Any = response.json()
    except ValueError:
        answer = None
    if response.is_success and isinstance(answer, dict):
        return answer
    details = answer if isinstance(answer, dict) else {}
    message = details.get("detail") or f"{server} answered {response.status_code} to {path}."
    hint = details.get("hint")
    if details.get("type") in (KeyRequired.code, ScopeMissing.code):
        hint = f"`{called_as()} keys create NAME > FILE`, in the project, makes a key; add --key-file FILE."
    raise (StreamUnknown if response.status_code < 500 else LogUnavailable)(message, hint=hint)
