"""Makes file names of names that somebody else chose: streams, schemas, subjects, jobs. Names are not paths.

A name is refused, and never repaired, where it would leave its directory, where some file system cannot hold it, or
where it and another would be one file on a file system that does not tell cases apart: two names must never become one
file.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from headwater.errors import ConfigInvalid

SEGMENT_BYTES_MAX = 200
PATH_BYTES_MAX = 1_000
# What Windows keeps for devices, whatever the extension.
_DEVICES = frozenset(
    (
        *("con", "prn", "aux", "nul", "conin$", "conout$", "clock$"),
        *(f"{port}{number}" for port in ("com", "lpt") for number in "0123456789¹²³"),
    )
)
_FORBIDDEN = re.compile(r"[<>:\"|?*\\]")
_HINT = "Rename it where it comes from."


def file_name(name: str, what: str) -> str:
    """The name, which can be that of a file in any directory; `what` says whose it is ("stream").

    Raises ConfigInvalid, naming it.
    """
    if "/" in name:
        raise _refused(name, what, "it has a slash")
    return file_path(name, what)


def file_path(name: str, what: str) -> str:
    """The name, which can be that of a file below any directory; its slashes are directories. Raises ConfigInvalid."""
    if len(name.encode("utf-8", "surrogatepass")) > PATH_BYTES_MAX:
        raise _refused(name, what, f"it is longer than {PATH_BYTES_MAX} bytes")
    for segment in name.split("/"):
        fault = _fault(segment)
        if fault is not None:
            raise _refused(name, what, fault)
    return name


def require_distinct(names: Iterable[str], what: str, *, taken: Iterable[str] = ()) -> None:
    """Raise ConfigInvalid where two names, or a name and a file that is `taken`, would be one file somewhere."""
    seen: dict[str, str] = {}
    files = {folded(name): name for name in taken}
    for name in names:
        if (file := files.get(folded(name))) is not None:
            raise _refused(name, what, f"{file!r} is the name of another file there")
        other = seen.setdefault(folded(name), name)
        if other != name:
            raise ConfigInvalid(
                f"The {what}s {other!r} and {name!r} would be one file where cases are not told apart.", hint=_HINT
            )


def folded(name: str) -> str:
    """What names have in common that some file systems take for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _fault(segment: str) -> str | None:
    """Why a part of a path cannot be one; None where it can."""
    if not segment:
        return "a part of it is empty"
    if segment in {".", ".."}:
        return f"{segment!r} leads elsewhere"
    if any(unicodedata.category(character) in {"Cc", "Cs", "Cn"} for character in segment):
        return "it has a control character, or one that is none"
    if _FORBIDDEN.search(segment):
        return f"{_FORBIDDEN.findall(segment)[0]!r} cannot be in the name of a file everywhere"
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
