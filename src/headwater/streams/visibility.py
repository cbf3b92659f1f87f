"""Who may see a stream: the one decision that every output of the platform uses.

How this works: each stream has an `Exposure`. A stream is hidden if its privacy class or its name makes it private, if
it shares a topic with such a stream, and if events of such a stream are copied into it: the late and error streams of a
job, and the outputs of a job whose stream files name no class. The names of error streams of public streams are public,
their events are not, unless their stream file makes them public. The same holds for streams whose readers need an API
key, by their stream file or by the configuration. A reader has a `Sight`, which follows from its API key; `names` and
`reads` compare the two.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from headwater.streams.stream import PRIVACY_CLASS_UNSPECIFIED, Stream

ERROR_TITLE = "error"


class Sight(enum.IntEnum):
    """What a reader may see. PUBLIC: what is open to all. DECLARED: also all declarations. EVENTS: also all events."""

    PUBLIC = 0
    DECLARED = 1
    EVENTS = 2


class Exposure(enum.IntEnum):
    """What of a stream is public: nothing, its name and declaration, or its events as well."""

    HIDDEN = 0
    NAMED = 1
    OPEN = 2


@dataclass(frozen=True, slots=True)
class Flow:
    """The part of a job that matters here: the streams it reads, and the streams and the table it writes.

    `is_connector`: it reads no streams but another system, and writes as a producer does.
    """

    job: str
    sources: tuple[str, ...]
    output: str | None = None
    late: str | None = None
    error: str | None = None
    table: str | None = None
    emitted: tuple[str, ...] = ()
    is_connector: bool = False

    @property
    def outputs(self) -> tuple[str, ...]:
        return self.emitted if self.output is None else (self.output, *self.emitted)

    @property
    def written(self) -> tuple[str, ...]:
        return tuple(name for name in (*self.outputs, self.late, self.error) if name is not None)


@dataclass(frozen=True, slots=True)
class Access:
    """What is known in addition to the declarations: streams opened to everybody by name, hidden ones, and the jobs."""

    opened: frozenset[str] = frozenset()
    hidden: frozenset[str] = frozenset()
    error_streams: frozenset[str] = frozenset()
    flows: tuple[Flow, ...] = ()
    # Whether producers and readers need an API key, unless a stream file sets that.
    sends_with_key: bool = False
    reads_with_key: bool = False
    _written: Mapping[str, tuple[Flow, ...]] = field(init=False, default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        written: dict[str, tuple[Flow, ...]] = {}
        for flow in self.flows:
            for name in flow.written:
                written[name] = (*written.get(name, ()), flow)
        object.__setattr__(self, "_written", written)

    def writers(self, name: str) -> tuple[Flow, ...]:
        """The jobs that write into a stream."""
        return self._written.get(name, ())

    def asks_sender(self, stream: Stream | None) -> bool:
        """Whether sending events to a stream needs an API key; None: to an undeclared stream."""
        declared = stream.producer_keys if stream is not None else None
        return self.sends_with_key if declared is None else declared == "required"

    def asks_reader(self, stream: Stream) -> bool:
        """Whether reading the events of a stream needs an API key."""
        declared = stream.consumer_keys
        return self.reads_with_key if declared is None else declared == "required"


def is_error_stream(stream: Stream, access: Access) -> bool:
    """Whether a stream holds error events: those of the intake, of a job, or of another service."""
    name = stream.name
    is_own = name in access.error_streams or any(flow.error == name for flow in access.writers(name))
    return is_own or stream.schema_title == ERROR_TITLE


class Visibility:
    """The exposure of every stream of one registry. `find` returns a stream by name."""

    def __init__(self, streams: Sequence[Stream], find: Callable[[str], Stream | None], access: Access) -> None:
        self._access = access
        self._find = find
        self._exposures: dict[str, Exposure] = {}
        self._private_topics: set[str] = set()
        known = {stream.name: stream for stream in streams}
        for flow in access.flows:
            for name in (*flow.sources, *flow.written):
                if name not in known and (found := find(name)) is not None:
                    known[name] = found
        self._settle(list(known.values()))
        self.has_hidden = Exposure.HIDDEN in self._exposures.values() or any(map(access.asks_reader, known.values()))

    def exposure(self, stream: Stream) -> Exposure:
        """What of a stream, which may be a member of a family, is public."""
        known = self._exposures.get(stream.name)
        return self._of(stream) if known is None else known

    def names(self, stream: Stream, sight: Sight) -> bool:
        """Whether a reader may know that this stream exists, its declaration and its health."""
        return sight >= Sight.DECLARED or self.exposure(stream) > Exposure.HIDDEN

    def reads(self, stream: Stream, sight: Sight) -> bool:
        """Whether a reader may receive events of this stream, and results derived from them."""
        return sight >= Sight.EVENTS or self.exposure(stream) is Exposure.OPEN

    def names_job(self, job: str, sight: Sight) -> bool:
        """Whether a reader may know of a job: of all declared streams that it reads and writes."""
        flow = next((flow for flow in self._access.flows if flow.job == job), None)
        return (
            sight >= Sight.DECLARED
            or flow is None
            or all(self._named(name) > Exposure.HIDDEN for name in (*flow.sources, *flow.written) if self.knows(name))
        )

    def reads_job(self, job: str, sight: Sight) -> bool:
        """Whether a reader may see the messages of a job, which may contain parts of the events it reads."""
        flow = next((flow for flow in self._access.flows if flow.job == job), None)
        return (
            sight >= Sight.EVENTS
            or flow is None
            or all(self.reads_of(name, Sight.PUBLIC) for name in (*flow.sources, *flow.outputs))
        )

    def reads_table(self, table: str, sight: Sight) -> bool:
        """Whether a reader may see rows of a table, which come from events of all streams it is filled from."""
        flows = [flow for flow in self._access.flows if flow.table == table]
        return sight >= Sight.EVENTS or all(
            self._named(name) is Exposure.OPEN for flow in flows for name in flow.sources
        )

    def may_copy(self, sources: Iterable[str | None], into: Stream) -> bool:
        """Whether events that named the streams `sources` may be written to `into`, for all of its readers."""
        return self.exposure(into) is not Exposure.OPEN or all(self.reads_of(name, Sight.PUBLIC) for name in sources)

    def reads_of(self, name: str | None, sight: Sight) -> bool:
        """Whether a reader may receive an event that named the stream `name`, even if there is no such stream.

        An event that names none might have been meant for any: it is public only if all streams are.
        """
        stream = self._find(name) if name else None
        return sight >= Sight.EVENTS or (
            self.exposure(stream) is Exposure.OPEN if stream is not None else not self.has_hidden
        )

    def knows(self, name: str | None) -> bool:
        """Whether there is a stream of this name, visible or hidden."""
        return bool(name) and self._find(name or "") is not None

    @property
    def hidden(self) -> frozenset[str]:
        """The declared streams that are hidden without an API key."""
        return frozenset(name for name, exposure in self._exposures.items() if exposure is Exposure.HIDDEN)

    def _named(self, name: str) -> Exposure:
        stream = self._find(name)
        return Exposure.HIDDEN if stream is None else self.exposure(stream)

    def _settle(self, streams: Sequence[Stream]) -> None:
        """Derive exposures from each other until nothing changes: they can only decrease."""
        self._exposures = {stream.name: Exposure.OPEN for stream in streams}
        changed = True
        while changed:
            changed = False
            for stream in streams:
                found = self._of(stream)
                if found < self._exposures[stream.name]:
                    self._exposures[stream.name] = found
                    changed = True
                if found is Exposure.HIDDEN and not self._private_topics.issuperset(stream.topics):
                    self._private_topics.update(stream.topics)
                    changed = True

    def _of(self, stream: Stream) -> Exposure:
        most = Exposure.NAMED if self._access.asks_reader(stream) else Exposure.OPEN
        return min(most, self._of_its_events(stream))

    def _of_its_events(self, stream: Stream) -> Exposure:
        access, name = self._access, stream.name
        if not self._private_topics.isdisjoint(stream.topics):
            return Exposure.HIDDEN
        if name in access.opened:
            return Exposure.OPEN
        if stream.is_private or name in access.hidden:
            return Exposure.HIDDEN
        writers = access.writers(name)
        is_error = is_error_stream(stream, access)
        says_so = stream.privacy_class != PRIVACY_CLASS_UNSPECIFIED
        least = Exposure.NAMED if is_error and not says_so else Exposure.OPEN
        for flow in writers:
            # Late events are copied whole, whatever the privacy class of their stream; error events are redacted.
            if flow.late == name or not says_so:
                # What a connector could not write was meant for one of its outputs.
                copied = flow.outputs if flow.is_connector and flow.error == name else flow.sources
                least = min([least, *(self._exposures.get(source, Exposure.HIDDEN) for source in copied)])
        return least
