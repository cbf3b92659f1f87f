"""Schema URIs: their form, which of them producers may use, and how they map to a path in a repository."""

from __future__ import annotations

import re
from typing import NoReturn

from headwater.errors import SchemaUriRefused

LATEST = "latest"
# The latest version, and the one being edited: the meaning of both may change.
_MOVING = frozenset({LATEST, "current"})
_URI_CHARS_MAX = 1_024
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")
# A percent sign would let `%2e%2e` mean `..` to a remote repository; no schema path needs one.
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f\\%#?*:]")
_EXTENSION = re.compile(r"\.(?!\d+$)[^.]*$")
_VERSION = re.compile(r"([0-9]+)\.([0-9]+)\.([0-9]+)")


def canonical_uri(uri: str) -> str:
    """The canonical form of a relative schema URI (`/title/1.0.0`). Raises SchemaUriRefused for anything else."""
    if not isinstance(uri, str) or not uri:
        raise SchemaUriRefused("The schema URI is empty or not text.")
    shown = uri if len(uri) <= 200 else uri[:200] + "…"
    if len(uri) > _URI_CHARS_MAX:
        raise SchemaUriRefused(f"The schema URI {shown!r} is longer than {_URI_CHARS_MAX} characters.")
    if _SCHEME.match(uri):
        raise SchemaUriRefused(
            f"The schema URI {shown!r} is absolute.", hint="Use the path within the schema repository."
        )
    if uri.startswith("//"):
        raise SchemaUriRefused(f"The schema URI {shown!r} names a host.", hint="Begin it with a single slash.")
    if _FORBIDDEN.search(uri):
        raise SchemaUriRefused(f"The schema URI {shown!r} has a character that is not allowed in schema paths.")
    segments = uri.removeprefix("/").split("/")
    if ".." in segments:
        raise SchemaUriRefused(f"The schema URI {shown!r} leads out of its repository.")
    if "" in segments or "." in segments:
        raise SchemaUriRefused(f"The schema URI {shown!r} has an empty path segment.")
    return "/" + "/".join(segments)


def check_producer_uri(uri: str) -> None:
    """Raises SchemaUriRefused unless an event may carry this `$schema`: relative, inside, and one released version."""
    if _version_name(uri).lower() in _MOVING:
        _refuse_moving(uri)


def check_released(uri: str, own: object) -> None:
    """As `check_producer_uri`, given the `$id` of the schema at `uri`.

    A name that is an alias of a version may lead to another one tomorrow.
    """
    check_producer_uri(uri)
    if isinstance(own, str) and version_of(own.rpartition("/")[2]) and version_of(_version_name(uri)) is None:
        _refuse_moving(uri)


def _version_name(uri: str) -> str:
    return _EXTENSION.sub("", canonical_uri(uri).rsplit("/", 1)[1])


def _refuse_moving(uri: str) -> NoReturn:
    raise SchemaUriRefused(
        f"The schema URI {uri!r} names no fixed version.",
        hint="An event must name the version it was made with, such as 1.0.0.",
    )


def has_extension(uri: str) -> bool:
    """Whether the last segment ends in an extension; a number does not count, so `1.0.0` has none (intake.md §2)."""
    return _EXTENSION.search(uri.rsplit("/", 1)[-1]) is not None


def version_of(name: str) -> tuple[int, int, int] | None:
    """`1.2.3` as numbers, or None if the name is not a version."""
    match = _VERSION.fullmatch(name)
    return (int(match[1]), int(match[2]), int(match[3])) if match else None
