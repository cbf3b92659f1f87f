"""What a source declares: its options, its features, and how it is created; everything else is derived from that.

A source is one module with a `SPEC`. `check`, errors, `headwater sources` and docs/reference/connectors.md ask the
spec, so a new source adds its own file and a line in the registry, or an entry point in a package of its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from headwater.connectors.contract import Delivery, Source, SourceFeatures
from headwater.connectors.references import read_options, secret_options
from headwater.declaration import Declaration, KeyPath


@dataclass(frozen=True, slots=True)
class SourceContext:
    """What a source is made with besides its options: its name, the project's directory, and its limits.

    `contact`: who runs the platform, for upstreams that want to know (`lookups.contact`).
    """

    name: str
    directory: Path
    event_bytes_max: int = 4_194_304
    contact: str | None = None


class Receiver(Protocol):
    """Takes what is posted to the platform for a source. Any thread may call it."""

    @property
    def body_bytes_max(self) -> int: ...

    @property
    def is_signed(self) -> bool:
        """Whether `check` proves that the sender may send; otherwise an API key may be needed."""
        ...

    def check(self, headers: Mapping[str, str], body: bytes, now: float) -> None:
        """Whether a request may be read: `headers` by lower-case names, `body` as sent. Raises SignatureInvalid."""
        ...

    def deliveries(self, headers: Mapping[str, str], body: bytes) -> Sequence[Delivery]:
        """The events of a body, which is JSON in UTF-8. Raises EventMalformed, RequestTooLarge."""
        ...


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """A kind of source.

    `options` is a dataclass of `settings.setting` fields; `make(options, context)` returns a closed source, with
    relative paths in the project's directory. `extra` is the one of headwater that installs its driver. `streams`: the
    streams that the options route events to; None: all go to the one stream that the file names. `check` raises
    ConfigInvalid for options that do not go together. `receive(options)`: what takes the events of a source that are
    posted to the platform, so that nothing is read, and `make` is not called. `example`: the options of an example, as
    YAML. `fields`: the streams, and for each the dotted paths, that the options say how to fill.
    """

    name: str
    summary: str
    options: type[Any]
    make: Callable[[Any, SourceContext], Source]
    features: SourceFeatures = dataclasses.field(default_factory=SourceFeatures)
    extra: str | None = None
    streams: Callable[[Any], Sequence[str]] | None = None
    check: Callable[[Any, Declaration], None] = lambda options, source: None
    receive: Callable[[Any], Receiver] | None = None
    example: str = ""
    fields: Callable[[Any], Sequence[tuple[str, str]]] = lambda options: ()

    def read(self, written: Any, source: Declaration, path: KeyPath) -> Any:
        """The options written at `path`; secrets are the references to them. Raises ConfigInvalid."""
        options = read_options(self.options, written, source, path)
        self.check(options, source)
        return options

    @property
    def pushed(self) -> bool:
        """Whether its events are posted to the platform instead of being read."""
        return self.receive is not None

    @property
    def secrets(self) -> tuple[str, ...]:
        """The options that may hold passwords."""
        return secret_options(self.options)


@dataclass(frozen=True, slots=True)
class ConfiguredSource:
    """A source as its file configures it: its options, in which secrets are references. `place` is where.

    `schema`: the `$schema` that every event gets; None: as it has one, else the newest of its stream.
    """

    name: str
    spec: SourceSpec
    options: Any
    place: str = ""
    schema: str | None = None

    @property
    def references(self) -> dict[str, Any]:
        """What is written for each secret option."""
        return {key: getattr(self.options, key) for key in self.spec.secrets}

    def made(self, secrets: Mapping[str, Any], context: SourceContext) -> Source:
        """The source, closed, with `secrets` put in for their references."""
        return self.spec.make(self.with_secrets(secrets), context)

    def with_secrets(self, secrets: Mapping[str, Any]) -> Any:
        """The options with `secrets` put in for their references."""
        return dataclasses.replace(self.options, **secrets) if secrets else self.options
