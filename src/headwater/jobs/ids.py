"""The ids of what a job derives: the same each time it is derived, whichever runner does it."""

from __future__ import annotations

import functools
import hashlib
import uuid

from headwater.event import uuid_text

# Names the family of ids below; must never change, or repeats are no longer recognised.
NAMESPACE = uuid.UUID("6a5d1c0e-5b0c-5f0e-9f5e-0d1f4c2b7a11")


def derived_id(job: str, stream: str, lineage_id: str) -> str:
    """The id of the event of `job` for `stream` derived from `lineage_id`: the same each time."""
    # As `uuid.uuid5` makes it.
    digest = _begun(job, stream).copy()
    digest.update(lineage_id.encode())
    return uuid_text(digest.hexdigest(), 5)


@functools.lru_cache(maxsize=1024)
def _begun(job: str, stream: str) -> hashlib._Hash:
    """The hash of what the ids of one stream have in common."""
    return hashlib.sha1(NAMESPACE.bytes + f"{job}\n{stream}\n".encode(), usedforsecurity=False)
