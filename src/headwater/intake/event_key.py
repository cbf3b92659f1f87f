"""The key under which an event is remembered: its topic's mark and its `meta.id`, or a hash of one that is long.

How this works: most ids are UUIDs, and the text of one is remembered as it is: to make sixteen bytes of it takes half
as long again as all the rest of remembering, and saves a fifth. What is longer is a hash of it, so that what strangers
send as ids takes no more memory than what everybody sends.
"""

from __future__ import annotations

from base64 import b85encode
from functools import lru_cache
from hashlib import blake2b

TEXT_CHARS_MAX = 64


@lru_cache(maxsize=4096)
def topic_mark(topic: str) -> str:
    """What tells the ids of one topic from those of others: ten characters."""
    return b85encode(blake2b(topic.encode("utf-8", "surrogatepass"), digest_size=8).digest()).decode()


def event_key(mark: str, event_id: str) -> str:
    """The key of an id in the topic of this `topic_mark`."""
    if len(event_id) <= TEXT_CHARS_MAX:
        return mark + event_id
    # Longer than any text that is kept, so that none can be taken for it.
    return f"{mark}#{blake2b(event_id.encode('utf-8', 'surrogatepass'), digest_size=32).hexdigest()}"
