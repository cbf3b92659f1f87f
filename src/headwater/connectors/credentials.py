"""Keeps passwords out of addresses, which are shown in errors, plans and pages."""

from __future__ import annotations

from urllib.parse import urlsplit

from headwater.errors import ConfigInvalid

# Headers that hold secrets, whatever they are used for.
SECRET_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization", "x-api-key"})


def refuse_credentials(url: str, user: str = "user", password: str = "password") -> None:
    """Raise ConfigInvalid if the address contains a user or a password; these are options of their own."""
    try:
        has_some = "@" in urlsplit(url).netloc
    except ValueError:
        raise ConfigInvalid("The address of a server is no URL.") from None
    if has_some:
        raise ConfigInvalid(
            "The address of a server contains a user or a password.",
            hint=f"Write them as the options `{user}` and `{password}`: addresses are shown to others.",
        )
