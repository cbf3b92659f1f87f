"""The sources whose events are posted to the platform: who may post, and what is stored of a request."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from headwater.config import Config
from headwater.connectors.contract import Delivery
from headwater.connectors.secrets import Secrets
from headwater.connectors.source_spec import Receiver
from headwater.errors import ConfigInvalid, EventMalformed, HeadwaterError, InputInvalid, SourceUnknown
from headwater.event import encode_event
from headwater.intake.gate import Gate
from headwater.processing.arriving import ConnectorEvents
from headwater.processing.declared_connectors import project_sources
from headwater.processing.hosting.files import secrets_of
from headwater.processing.source_files import DeclaredSource, job_of
from headwater.telemetry import Telemetry, closed, declared

# Of HTTP, by which outcomes are counted.
REDIRECTS, UNSIGNED, SERVER_ERRORS = 300, 401, 500


class Posted(NamedTuple):
    """The events of a request as JSON text, and why some cannot be events, by their place."""

    slices: Sequence[bytes]
    unreadable: Mapping[int, HeadwaterError]


class PushedSource:
    """One source. Its calls block; any thread may call."""

    def __init__(self, source: DeclaredSource, config: Config, gate: Gate, telemetry: Telemetry) -> None:
        """Raises ConfigInvalid if a secret is not there."""
        spec, secrets = source.configured.spec, secrets_of(config, source.configured)
        assert spec.receive is not None
        try:
            self._receiver: Receiver = spec.receive(source.configured.with_secrets(secrets))
        except Exception as error:
            raise Secrets(secrets.values()).clean(error) from None
        self.name = source.name
        self._stream = source.streams[0]
        self._events = ConnectorEvents(job_of(source, config.project_dir), gate)
        self._preparing = threading.Lock()
        self._is_prepared = False
        self._requests = telemetry.counter(
            "headwater_webhook_requests", "Requests to webhooks, by outcome.", (declared("source"), closed("outcome"))
        )
        self._stored_at = time.time()
        telemetry.gauge(
            "headwater_webhook_seconds_since_events",
            "Seconds since a webhook has stored the events of a request, or since the start.",
            (declared("source"),),
        ).labels(self.name).set_function(lambda: max(0.0, time.time() - self._stored_at))

    @property
    def body_bytes_max(self) -> int:
        return self._receiver.body_bytes_max

    @property
    def is_signed(self) -> bool:
        """Whether a request says by itself that its sender may send."""
        return self._receiver.is_signed

    def check(self, headers: Mapping[str, str], body: bytes, now: float) -> None:
        """`headers` by lower-case names; `body` as it was sent. Raises SignatureInvalid."""
        self._receiver.check(headers, body, now)

    def answered(self, status: int) -> None:
        """A request to it was answered with this status."""
        outcome = "failed" if status >= SERVER_ERRORS else "unsigned" if status == UNSIGNED else "refused"
        if status < REDIRECTS:
            outcome, self._stored_at = "stored", time.time()
        self._requests.labels(self.name, outcome).inc()

    def posted(self, headers: Mapping[str, str], body: bytes) -> Posted:
        """The events of a body, which is JSON in UTF-8, as they are to be validated.

        Raises EventMalformed, RequestTooLarge; SchemaUnavailable, and ConfigInvalid for what the project lacks.
        """
        self._prepare()
        slices: list[bytes] = []
        unreadable: dict[int, HeadwaterError] = {}
        for one in self._receiver.deliveries(headers, body):
            try:
                slices.append(self._text(one))
            except (EventMalformed, InputInvalid) as error:
                unreadable[len(slices)] = error
                slices.append(one.raw or encode_event(one.value)[0])
        return Posted(slices, unreadable)

    def _text(self, delivery: Delivery) -> bytes:
        if delivery.problem:
            raise InputInvalid(delivery.problem)
        return encode_event(self._events.completed(delivery.value, self._stream, delivery.event_id))[0]

    def _prepare(self) -> None:
        """Find the schemas, when the first request comes: until then the platform needs none of them."""
        with self._preparing:
            if self._is_prepared:
                return
            try:
                self._events.prepare()
            except HeadwaterError as error:
                if error.retriable:
                    raise
                raise ConfigInvalid(
                    f"The source {self.name} cannot store events: {error.message}", hint=error.hint
                ) from None
            self._is_prepared = True


class PushedSources:
    """The sources of a project that are posted to, by name; there are none before `prepare`, for who serves them."""

    def __init__(self, config: Config, gate: Gate, telemetry: Telemetry) -> None:
        self._config = config
        self._gate = gate
        self._telemetry = telemetry
        self._sources: Mapping[str, PushedSource] = {}

    def prepare(self) -> None:
        """Read their files and secrets. Blocks. Raises ConfigInvalid."""
        self._sources = {
            one.name: PushedSource(one, self._config, self._gate, self._telemetry)
            for one in project_sources(self._config)
            if one.configured.spec.pushed
        }

    def __contains__(self, name: str) -> bool:
        return name in self._sources

    def get(self, name: str) -> PushedSource:
        """Raises SourceUnknown."""
        found = self._sources.get(name)
        if found is None:
            raise SourceUnknown("There is no webhook of this name.")
        return found
