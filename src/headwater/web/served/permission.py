"""Who may read a served table: everybody who may read its streams, or those with one of its roles."""

from __future__ import annotations

from typing import NamedTuple

from starlette.requests import Request

from headwater.declaration import suggestion
from headwater.errors import KeyRequired, ScopeMissing, TableUnknown
from headwater.platform import Platform
from headwater.served_tables.declared import ServedTable
from headwater.streams.visibility import Sight
from headwater.web.sight import address_of, sight_of


class Permission(NamedTuple):
    """`is_public`: everybody may read it. `key`: the name of the API key that was needed; None if none was."""

    served: ServedTable
    is_public: bool
    key: str | None = None


class NotPermitted(NamedTuple):
    """A request with a key that is not good for the table: it is refused, and audited."""

    served: ServedTable
    key: str
    error: ScopeMissing


def visible(request: Request) -> list[ServedTable]:
    """The served tables that the client may know of. Raises KeyRequired for a key that is not known."""
    platform: Platform = request.app.state.platform
    sight, scopes = sight_of(request), _scopes(platform, request)[1]
    return [one for one in platform.served.all() if _knows(platform, one, sight, scopes)]


def permission(request: Request, name: str) -> Permission | NotPermitted:
    """Whether the client may read a table. Raises TableUnknown if it may not know of it, KeyRequired."""
    platform: Platform = request.app.state.platform
    sight, (key, scopes) = sight_of(request), _scopes(platform, request)
    served = platform.served.get(name)
    if served is None or not _knows(platform, served, sight, scopes):
        known = [one.name for one in platform.served.all() if _knows(platform, one, sight, scopes)]
        raise TableUnknown(f"There is no served table {name!r:.200}.", hint=suggestion(name, known) if known else None)
    if not served.is_restricted:
        return Permission(served, _reads(platform, served, Sight.PUBLIC))
    if key is None:
        raise KeyRequired(
            f"The table {served.name} needs an API key with a role.", hint="Send it as `Authorization: Bearer …`."
        )
    if not scopes & set(served.scopes):
        wanted = " or ".join(served.scopes)
        error = ScopeMissing(
            f"The API key {key!r} is not good for the table {served.name}.", hint=f"It needs {wanted}."
        )
        return NotPermitted(served, key, error)
    return Permission(served, is_public=False, key=key)


def _scopes(platform: Platform, request: Request) -> tuple[str | None, frozenset[str]]:
    """The name of the key of a request, and what it is good for."""
    found = platform.keys.key_of(request.headers.get("authorization"), address_of(request))
    return (None, frozenset()) if found is None else (found.name, frozenset(found.scopes))


def _knows(platform: Platform, served: ServedTable, sight: Sight, scopes: frozenset[str]) -> bool:
    if not served.is_restricted:
        return _reads(platform, served, sight)
    return bool(scopes & set(served.scopes)) or sight >= Sight.DECLARED or _reads(platform, served, Sight.PUBLIC)


def _reads(platform: Platform, served: ServedTable, sight: Sight) -> bool:
    return platform.streams.visibility.reads_table(served.table.name, sight)
