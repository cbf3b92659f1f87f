"""Makes file names from names that users chose: streams, schemas, subjects, jobs. Names are not paths.

A name is refused, and never repaired, if it would leave its directory, if some file system cannot hold it, or if it and
another would be the same file on a case-insensitive file system: two names must never become one file.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from headwater.errors import ConfigInvalid

SEGMENT_BYTES_MAX = 200
PATH_BYTES_MAX = 1_000
# Names that Windows reserves for devices, with any extension.
_DEVICES = frozenset(
    (
        *("con", "prn", "aux", "nul", "conin$", "conout$", "clock$"),
        *(f"{port}{number}" for port in ("com", "lpt") for number in "0123456789¹²³"),
    )
)
_FORBIDDEN = re.compile(r"[<>:\"|?*\\]")
_HINT = "Rename it at its origin."


def file_name(name: str, what: str) -> str:
    """Check that the name can be a file name in any directory, and return it; `what` says what it names ("stream").

    Raises ConfigInvalid, naming it.
    """
    if "/" in name:
        raise _refused(name, what, "it has a slash")
    return file_path(name, what)


def file_path(name: str, what: str) -> str:
    """Check that the name can be a path below any directory, and return it; slashes divide directories. Raises
    ConfigInvalid.
    """
    if len(name.encode("utf-8", "surrogatepass")) > PATH_BYTES_MAX:
        raise _refused(name, what, f"it is longer than {PATH_BYTES_MAX} bytes")
    for segment in name.split("/"):
        fault = _fault(segment)
        if fault is not None:
            raise _refused(name, what, fault)
    return name


def require_distinct(names: Iterable[str], what: str, *, taken: Iterable[str] = ()) -> None:
    """Raise ConfigInvalid if two names, or a name and a file that is `taken`, would be one file on some file system."""
    seen: dict[str, str] = {}
    files = {folded(name): name for name in taken}
    for name in names:
        if (file := files.get(folded(name))) is not None:
            raise _refused(name, what, f"{file!r} is the name of another file there")
        other = seen.setdefault(folded(name), name)
        if other != name:
            raise ConfigInvalid(
                f"The {what}s {other!r} and {name!r} would be the same file on a case-insensitive file system.",
                hint=_HINT,
            )


def folded(name: str) -> str:
    """The same for all names that some file system considers equal."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _fault(segment: str) -> str | None:
    """Why a segment cannot be part of a path; None if it can."""
    if not segment:
        return "a part of it is empty"
    if segment in {".", ".."}:
        return f"{segment!r} leads to another directory"
    if any(unicodedata.category(character) in {"Cc", "Cs", "Cn"} for character in segment):
        return "it has a control character or an invalid character"
    if _FORBIDDEN.search(segment):
        return f"{_FORBIDDEN.findall(segment)[0]!r} is not allowed in file names on every system"
    if segment.endswith((".", " ")) or segment.startswith(" "):
        return "a part of it begins or ends with a blank, or ends with a dot"
    if segment.partition(".")[0].rstrip(" ").lower() in _DEVICES:
        return f"{segment!r} is the name of a device"
    if len(segment.encode("utf-8")) > SEGMENT_BYTES_MAX:
        return f"a part of it is longer than {SEGMENT_BYTES_MAX} bytes"
    return None


def _refused(name: str, what: str, fault: str) -> ConfigInvalid:
    shown = name if len(name) <= 100 else name[:100] + "…"
    return ConfigInvalid(f"No file can be named after the {what} {shown!r}: {fault}.", hint=_HINT)
