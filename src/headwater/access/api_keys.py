"""API keys: who may send, read and change what; stored as hashes in a file, checked in constant time, rate-limited.

How this works: a key is `hwk_` and 43 random characters, shown once when it is created. Such a long secret needs no
slow hash: its SHA-256 is stored. The file is read again when it changes, so a revoked key stops working within a
second. Requests are answered on the event loop and in threads: their shared data is protected by one lock.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from headwater.access.attempts import Attempts
from headwater.access.key_file import ApiKey, KeyFile, read_keys
from headwater.errors import ConfigInvalid, KeyRequired, KeysDamaged, ScopeMissing, TooManyRequests
from headwater.private_files import make_private_directory
from headwater.streams.visibility import Sight
from headwater.times import time_ms

PREFIX = "hwk_"
EVENTS_READ, EVENTS_WRITE = "events:read", "events:write"
# Those of keys that may read what is declared and how it is doing.
READING = ("streams:read", "streams:write", "streams:kill", EVENTS_READ)
SCOPES = (*READING, EVENTS_WRITE)
# What precedes the name of a role in a scope: who has it may read the tables that are served to it.
ROLE = "role:"
_ROLE = re.compile(r"role:[a-z][a-z0-9_-]{0,63}")
LOOKED_AT_SECONDS = 1.0
_log = logging.getLogger(__name__)
_REPAIR = "Its operator repairs the file: `headwater check` names the place."
_SEND = "Send it as `Authorization: Bearer …`; a browser that asks for a name and a password takes it as the password."
_HOW = "Make one with `headwater keys create`, and send it as `Authorization: Bearer …`."


class ApiKeys:
    """The keys in a file. `changes_per_minute_max` is for each key, `attempts_per_minute_max` for each address.

    Safe to use from several threads.
    """

    def __init__(
        self,
        path: Path,
        changes_per_minute_max: int,
        clock: Callable[[], float] = time.time,
        *,
        attempts_per_minute_max: int = 60,
    ) -> None:
        self._path = path
        self._rate = changes_per_minute_max
        self._clock = clock
        self._attempts = Attempts(attempts_per_minute_max, clock)
        self._keys: dict[str, ApiKey] = {}
        self._file = KeyFile()
        self._looked_at = float("-inf")
        self._modified: int | None = None
        # Key name → (what is left of its allowance, when that was so).
        self._left: dict[str, tuple[float, float]] = {}
        self._lock = threading.RLock()

    def all(self) -> Sequence[ApiKey]:
        """The keys by name. Raises ConfigInvalid where the file cannot be read."""
        with self._lock:
            self._load()
            return sorted(self._keys.values(), key=lambda key: key.name)

    def report(self) -> None:
        """Log what is wrong with the file, if anything is."""
        try:
            with self._lock:
                self._load()
        except ConfigInvalid as error:
            _log.warning("%s No API key is good before it is repaired.", error)

    def check(self, authorization: str | None, scope: str, address: str = "") -> str:
        """The name of the key of a request from `address`.

        Raises KeyRequired, KeysDamaged, ScopeMissing, TooManyRequests.
        """
        given = bearer(authorization) or (key_in(authorization) if scope.endswith(":read") else None)
        if not given:
            raise KeyRequired(f"This needs an API key with the scope {scope}.", hint=_HOW)
        found = self._known(given, address)
        if scope not in found.scopes:
            raise ScopeMissing(
                f"The API key {found.name!r} is good for {', '.join(found.scopes)}, not for {scope}.", hint=_HOW
            )
        with self._lock:
            self._spend(found.name)
        return found.name

    def admit(
        self, authorization: str | None, scopes: Collection[str], address: str, *, with_role: bool = False
    ) -> None:
        """Let a request pass that has a key with one of these scopes; `with_role`: or with any role.

        Raises KeyRequired, KeysDamaged, ScopeMissing, TooManyRequests, with a message that does not depend on what is
        requested.
        """
        given = key_in(authorization)
        if not given:
            raise KeyRequired("This needs an API key.", hint=_SEND)
        try:
            found = self._known(given, address)
        except KeysDamaged:
            raise KeysDamaged("The API keys of this server cannot all be read.", hint=_REPAIR) from None
        if not set(scopes) & set(found.scopes) and not (with_role and any(map(is_role, found.scopes))):
            raise ScopeMissing(
                f"The API key {found.name!r} is good for {', '.join(found.scopes)}, not for this.",
                hint=f"A key with the scope {' or '.join(scopes)} is.",
            )

    def key_of(self, authorization: str | None, address: str) -> ApiKey | None:
        """The key of a request from `address`, whatever it is good for; None without a key of ours.

        Raises KeyRequired for a key that is not known or has expired, KeysDamaged, TooManyRequests.
        """
        given = key_in(authorization)
        return self._known(given, address) if given and given.startswith(PREFIX) else None

    def sight(self, authorization: str | None, address: str | None = "") -> Sight:
        """What the reader who sent this header may see of private streams; without a key of ours, what is public.

        `events:read` shows their events, any other scope how they are declared and doing, but `events:write` nothing.
        `address` None: the key was good before, and no attempt is counted. Raises KeyRequired for a key that is not
        known or has expired, KeysDamaged, TooManyRequests.
        """
        given = key_in(authorization)
        # Other credentials are for a proxy before the platform.
        if not given or not given.startswith(PREFIX):
            return Sight.PUBLIC
        scopes = self._known(given, address).scopes
        if EVENTS_READ in scopes:
            return Sight.EVENTS
        return Sight.DECLARED if set(READING) & set(scopes) else Sight.PUBLIC

    def create(self, name: str, scopes: Sequence[str], expires: datetime | None = None) -> str:
        """Make a key and answer it; it cannot be had again. Raises ConfigInvalid."""
        unknown = [scope for scope in scopes if scope not in SCOPES and not is_role(scope)]
        if unknown or not scopes:
            raise ConfigInvalid(
                f"{unknown[0] if unknown else ''!r} is no scope.",
                hint=f"There are {', '.join(SCOPES)}, and {ROLE}NAME for the tables that are served to a role.",
            )
        given = PREFIX + secrets.token_urlsafe(32)
        now = datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="seconds")
        until = expires.astimezone(UTC).isoformat(timespec="seconds") if expires else None
        with self._lock:
            self._load()
            if name in self._keys:
                raise ConfigInvalid(f"There is a key named {name!r}.", hint="Revoke it first, or use another name.")
            self._keys[name] = ApiKey(name, hash_of(given), tuple(scopes), now, until)
            self._save(self._file.entries_but(name))
        return given

    def revoke(self, name: str) -> None:
        """Forget a key. Raises ConfigInvalid."""
        with self._lock:
            self._load()
            left = self._file.entries_but(name)
            if self._keys.pop(name, None) is None and len(left) == len(self._file.entries):
                raise ConfigInvalid(
                    f"There is no key named {name!r}.", hint="`headwater keys list` names those there are."
                )
            self._save(left)

    def _known(self, given: str, address: str | None) -> ApiKey:
        with self._lock:
            return self._found(given, address)

    def _found(self, given: str, address: str | None) -> ApiKey:
        if address is not None:
            self._attempts.check(address)
        try:
            self._look()
        except ConfigInvalid as error:
            self._looked_at = float("-inf")
            # Without the directory: strangers read it.
            said = error.message.replace(str(self._path), self._path.name)
            raise KeysDamaged(said, hint=_REPAIR) from None
        digest = hash_of(given)
        # All of them, so that the time does not reveal which one it is.
        found = [key for key in self._keys.values() if hmac.compare_digest(key.hash, digest)]
        if not found:
            if address is not None:
                self._attempts.failed(address)
            raise self._unknown(digest)
        return self._unexpired(found[0])

    def _unknown(self, digest: str) -> KeyRequired | KeysDamaged:
        """Why a key is refused: it is unknown, or its entry may be a damaged one."""
        for (sentence, line), written in zip(self._file.faults, self._file.damaged, strict=True):
            if written is None or hmac.compare_digest(written, digest):
                return KeysDamaged(f"{self._path.name}:{line}: {sentence}", hint=_REPAIR)
        return KeyRequired("The API key is not known, or was revoked.", hint=_HOW)

    def _unexpired(self, found: ApiKey) -> ApiKey:
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
            self._keys, self._file, self._modified = {}, KeyFile(), None
            return
        except OSError as error:
            raise ConfigInvalid(f"it cannot be read: {error.strerror}.", file=str(self._path)) from None
        if modified == self._modified:
            return
        try:
            found = read_keys(self._path.read_bytes())
        except OSError as error:
            raise ConfigInvalid(f"it cannot be read: {error.strerror}.", file=str(self._path)) from None
        except ValueError as error:
            raise ConfigInvalid(f"it is no list of API keys: {error}.", file=str(self._path)) from None
        # A damaged entry does not affect other keys.
        for sentence, line in found.faults:
            _log.warning("%s:%d: %s It is not taken.", self._path, line, sentence)
        self._keys, self._file, self._modified = dict(found.keys), found, modified

    def _save(self, damaged: Sequence[Any]) -> None:
        """Write the keys, and the damaged entries unchanged, so that they can be repaired."""
        make_private_directory(self._path.parent)
        unfinished = self._path.with_name(self._path.name + ".part")
        entries = [*(asdict(key) for key in self._keys.values()), *damaged]
        data = orjson.dumps(entries, option=orjson.OPT_INDENT_2)
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(data)
        unfinished.rename(self._path)
        self._file = read_keys(data)
        self._modified = self._path.stat().st_mtime_ns


def bearer(authorization: str | None) -> str | None:
    """What is sent as `Authorization: Bearer …`; None where nothing is."""
    kind, _, given = (authorization or "").strip().partition(" ")
    return given.strip() or None if kind.lower() == "bearer" else None


def is_basic(authorization: str | None) -> bool:
    """Whether a header has a name and a password, as browsers send them."""
    return (authorization or "").strip().partition(" ")[0].lower() == "basic"


def key_in(authorization: str | None) -> str | None:
    """The key of a request: a bearer token, or the password of `Basic` with any user name; None without one."""
    if not is_basic(authorization):
        return bearer(authorization)
    given = (authorization or "").strip().partition(" ")[2].strip()
    try:
        decoded = base64.b64decode(given, validate=True).decode("utf-8", "replace")
    except ValueError:
        # Counted as a key that is not good.
        return given or None
    return decoded.partition(":")[2].strip() or None


def is_role(scope: str) -> bool:
    """Whether a scope is a role, which a project names."""
    return _ROLE.fullmatch(scope) is not None


def hash_of(key: str) -> str:
    """What is kept of a key: SHA-256, in hexadecimal digits."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
