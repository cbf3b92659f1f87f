"""Finds out whether a Kafka client has lost its brokers for good, so that its owner replaces it.

How this works: a broker that starts, or was cut off from its controller, answers for a moment that the cluster has no
brokers. librdkafka then drops those it knew; if their connections end at the same time, it also cancels its return to
`bootstrap.servers` and never connects again (librdkafka issue 5301). From inside, this looks like an outage. So a
client without answers is compared with a new one: if only the new one gets answers, the old one is lost.
"""

from __future__ import annotations

import time
from typing import Any

from headwater.errors import LogUnavailable
from headwater.log.kafka.settings import AdminClient, KafkaException, KafkaSettings

# A client is checked after this time without a sign of life, and then in this interval.
CHECK_SECONDS = 10.0
# The same after the client has reported that it reaches no broker.
SUSPECT_SECONDS = 1.0
ANSWER_SECONDS_MAX = 2.0
# The last chance of a client, while a new one gets answers: a busy machine may be slow.
SECOND_ANSWER_SECONDS_MAX = 4.0


class ClientLost(LogUnavailable):
    """A client will never reach its brokers again, although they can be reached."""

    def __init__(self) -> None:
        super().__init__("The Kafka client has lost its brokers.", hint="Try again.", is_away=True)


def is_lost(client: Any, settings: KafkaSettings) -> bool:
    """Whether `client` gets no answer, but a new one does. Blocks: milliseconds while all is well, else seconds."""
    if _answers(client, settings, ANSWER_SECONDS_MAX):
        return False
    fresh = AdminClient(settings.client())
    return _answers(fresh, settings, ANSWER_SECONDS_MAX) and not _answers(client, settings, SECOND_ANSWER_SECONDS_MAX)


def _answers(client: Any, settings: KafkaSettings, seconds_max: float) -> bool:
    # One topic, which need not exist: a list of all may be long.
    topic = f"{settings.namespace}headwater.tokens"
    try:
        return bool(client.list_topics(topic, timeout=settings.closing.left(seconds_max)).brokers)
    except KafkaException:
        return False


class LossCheck:
    """When to check one client. Belongs to the thread that polls the client, except `suspect`."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._due = time.monotonic() + CHECK_SECONDS

    def alive(self) -> None:
        """The client has got something from a broker."""
        self._due = time.monotonic() + CHECK_SECONDS

    def suspect(self, error: object = None) -> None:
        """Check soon; an error callback of the client."""
        self._due = min(self._due, time.monotonic() + SUSPECT_SECONDS)

    @property
    def is_due(self) -> bool:
        return time.monotonic() >= self._due

    def finds_lost(self, client: Any) -> bool:
        """`is_lost`, if the check is due; blocks then."""
        if not self.is_due:
            return False
        lost = is_lost(client, self._settings)
        self.alive()
        return lost
