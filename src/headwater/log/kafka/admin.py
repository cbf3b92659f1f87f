"""The admin client of one log, which is replaced if it gets no answers while a new one does."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from headwater.errors import HeadwaterError, LogUnavailable
from headwater.log.kafka.lost import ANSWER_SECONDS_MAX
from headwater.log.kafka.settings import (
    AdminClient,
    KafkaError,
    KafkaException,
    KafkaSettings,
    refused_option,
    translate,
)

# A client that was replaced is kept for as long as requests sent with it may be under way.
FORMER_SECONDS = 60.0
FORMER_MAX = 8


class Admin:
    """Sends requests about topics. `metadata` blocks and may be called in any thread; the rest in the event loop."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._client: AdminClient | None = None
        self._former: deque[tuple[float, AdminClient]] = deque(maxlen=FORMER_MAX)
        self._said = ""

    @property
    def is_open(self) -> bool:
        return self._client is not None

    def open(self) -> None:
        """Raises ConfigInvalid for options that the client does not accept."""
        try:
            self._client = self._new()
        except (KafkaException, ValueError, TypeError) as error:
            raise refused_option(error, self._settings) from None

    def close(self) -> None:
        self._client = None
        self._former.clear()

    def client(self) -> AdminClient:
        """The client of now. Raises LogUnavailable."""
        if self._client is None:
            raise LogUnavailable("The log is not open.")
        return self._client

    def metadata(self, doing: str) -> Any:
        """The brokers and all topics. Raises LogUnavailable, named after `doing`."""
        client = self.client()
        while self._former and self._former[0][0] < time.monotonic() - FORMER_SECONDS:
            self._former.popleft()
        try:
            return _metadata_of(client, self._settings.closing.left(self._settings.answer_seconds_max / 2))
        except KafkaException as error:
            failed = self.error(error, doing)
        if not failed.is_away:
            raise failed
        fresh = self._new()
        try:
            metadata = _metadata_of(fresh, self._settings.closing.left(ANSWER_SECONDS_MAX))
        except KafkaException:
            raise failed from None
        # The client library may have lost its brokers for good (see `lost`).
        if self._client is client:
            self._client = fresh
            self._former.append((time.monotonic(), client))
        return metadata

    def of_topic(self, full_name: str) -> KafkaError | None:
        """What the brokers answer about one topic. Blocks. Raises KafkaException, KeyError."""
        timeout = self._settings.closing.left(self._settings.answer_seconds_max / 2)
        error: KafkaError | None = self.client().list_topics(full_name, timeout=timeout).topics[full_name].error
        return error

    def error(self, error: KafkaException, doing: str) -> HeadwaterError:
        """The error of a request, with what the client has reported of its connections."""
        self.client().poll(0)
        return translate(error, doing, self._settings.servers, self._said)

    def _new(self) -> AdminClient:
        hear: Callable[[KafkaError], None] = self._hear
        return AdminClient(self._settings.client() | {"error_cb": hear})

    def _hear(self, error: KafkaError) -> None:
        if error.code() != KafkaError._ALL_BROKERS_DOWN:
            self._said = str(error.str())


def _metadata_of(client: AdminClient, seconds_max: float) -> Any:
    metadata = client.list_topics(timeout=seconds_max)
    if not metadata.brokers:
        # A broker answers so until its controller accepts it: it serves no partition yet.
        raise KafkaException(KafkaError(KafkaError.BROKER_NOT_AVAILABLE, "the cluster reports no brokers"))
    return metadata
