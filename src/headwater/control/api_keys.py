"""API keys: who may change what, kept as hashes in a file, checked in constant time, limited in rate.

How this works: a key is `hwk_` and 43 random characters, shown once when it is made. So long a secret needs no slow
hash: SHA-256 is kept. The file is read again when it changes, so a key that is revoked stops working within a second.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import orjson

from headwater.control.key_file import ApiKey, read_keys
from headwater.errors import ConfigInvalid, KeyRequired, ScopeMissing, TooManyRequests
from headwater.private_files import make_private_directory
from headwater.streams.visibility import Sight
from headwater.times import time_ms

PREFIX = "hwk_"
EVENTS_READ = "events:read"
SCOPES = ("streams:read", "streams:write", "streams:kill", EVENTS_READ)
LOOKED_AT_SECONDS = 1.0
_log = logging.getLogger(__name__)
_HOW = "Make one with `headwater keys create`, and send it as `Authorization: Bearer …`."


class ApiKeys:
    """The keys in a file. `changes_per_minute_max` is for each key."""

    def __init__(self, path: Path, changes_per_minute_max: int, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._rate = changes_per_minute_max
        self._clock = clock
        self._keys: dict[str, ApiKey] = {}
        self._looked_at = float("-inf")
        self._modified: int | None = None
        # Key name → (what is left of its allowance, when that was so).
        self._left: dict[str, tuple[float, float]] = {}

    def all(self) -> Sequence[ApiKey]:
        """The keys by name. Raises ConfigInvalid where the file cannot be read."""
        self._load()
        return sorted(self._keys.values(), key=lambda key: key.name)

    def check(self, authorization: str | None, scope: str) -> str:
        """The name of the key of a request. Raises KeyRequired, ScopeMissing, TooManyRequests."""
        self._look()
        kind, _, given = (authorization or "").partition(" ")
        if kind.lower() != "bearer" or not given.strip():
            raise KeyRequired(f"This needs an API key with the scope {scope}.", hint=_HOW)
        found = self._known(given.strip())
        if scope not in found.scopes:
            raise ScopeMissing(
                f"The API key {found.name!r} is good for {', '.join(found.scopes)}, not for {scope}.", hint=_HOW
            )
        self._spend(found.name)
        return found.name

    def sight(self, authorization: str | None) -> Sight:
        """What the reader who sent this header may see of private streams; without a key of ours, what is public.

        `events:read` shows their events, any other scope how they are declared and doing. Raises KeyRequired for a key
        that is not known or has expired.
        """
        kind, _, given = (authorization or "").partition(" ")
        given = given.strip()
        # Other credentials are for a proxy before the platform.
        if kind.lower() != "bearer" or not given.startswith(PREFIX):
            return Sight.PUBLIC
        self._look()
        return Sight.EVENTS if EVENTS_READ in self._known(given).scopes else Sight.DECLARED

    def create(self, name: str, scopes: Sequence[str], expires: datetime | None = None) -> str:
        """Make a key and answer it; it cannot be had again. Raises ConfigInvalid."""
        self._load()
        unknown = [scope for scope in scopes if scope not in SCOPES]
        if unknown or not scopes:
            raise ConfigInvalid(
                f"{unknown[0] if unknown else ''!r} is no scope.", hint=f"There are {', '.join(SCOPES)}."
            )
        if name in self._keys:
            raise ConfigInvalid(f"There is a key named {name!r}.", hint="Revoke it first, or take another name.")
        given = PREFIX + secrets.token_urlsafe(32)
        now = datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="seconds")
        until = expires.astimezone(UTC).isoformat(timespec="seconds") if expires else None
        self._keys[name] = ApiKey(name, hash_of(given), tuple(scopes), now, until)
        self._save()
        return given

    def revoke(self, name: str) -> None:
        """Forget a key. Raises ConfigInvalid."""
        self._load()
        if self._keys.pop(name, None) is None:
            raise ConfigInvalid(f"There is no key named {name!r}.", hint="`headwater keys list` names those there are.")
        self._save()

    def _known(self, given: str) -> ApiKey:
        digest = hash_of(given)
        found = next((key for key in self._keys.values() if hmac.compare_digest(key.hash, digest)), None)
        if found is None:
            raise KeyRequired("The API key is not known, or was revoked.", hint=_HOW)
        if found.expires and (time_ms(found.expires) or 0) <= self._clock() * 1000:
            raise KeyRequired(f"The API key {found.name!r} expired on {found.expires}.", hint=_HOW)
        return found

    def _spend(self, name: str) -> None:
        now = self._clock()
        left, since = self._left.get(name, (float(self._rate), now))
        left = min(float(self._rate), left + (now - since) * self._rate / 60)
        if left < 1:
            wait = int((1 - left) * 60 / self._rate) + 1
            raise TooManyRequests(
                f"More than {self._rate} requests a minute with the key {name!r}.", retry_after_seconds=wait
            )
        self._left[name] = (left - 1, now)

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._looked_at >= LOOKED_AT_SECONDS:
            self._looked_at = now
            self._load()

    def _load(self) -> None:
        try:
            modified = self._path.stat().st_mtime_ns
        except FileNotFoundError:
            self._keys, self._modified = {}, None
            return
        if modified == self._modified:
            return
        try:
            found = read_keys(self._path.read_bytes())
        except OSError as error:
            raise ConfigInvalid(f"it cannot be read: {error.strerror}.", file=str(self._path)) from None
        except ValueError as error:
            raise ConfigInvalid(f"it is no list of API keys: {error}.", file=str(self._path)) from None
        # One that somebody has damaged locks nobody else out.
        for sentence, line in found.faults:
            _log.warning("%s:%d: %s It is not taken.", self._path, line, sentence)
        self._keys, self._modified = dict(found.keys), modified

    def _save(self) -> None:
        make_private_directory(self._path.parent)
        unfinished = self._path.with_name(self._path.name + ".part")
        data = orjson.dumps([asdict(key) for key in self._keys.values()], option=orjson.OPT_INDENT_2)
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(data)
        unfinished.rename(self._path)
        self._modified = self._path.stat().st_mtime_ns


def hash_of(key: str) -> str:
    """What is kept of a key: SHA-256, in hexadecimal digits."""
    return hashlib.sha256(key.encode()).hexdigest()
