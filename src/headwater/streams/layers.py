"""How a stream becomes what it is: layers of defaults, file, overrides and revisions, seen from a site at a time.

How this works: every declaration is a pile of layers, low to high. A layer sets and unsets keys of the stream file's
format and may hold only for some sites, groups, realms or within a window of time. `StreamLayers` makes the streams a
`Scope` sees by laying those that hold over each other with the one merge rule, and can say which layer set what. What
has no particular site sees the layers that hold everywhere. Revisions lie on top of everything: they are how a running
service is changed without a change of files.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from headwater.declaration import KeyPath
from headwater.errors import ConfigInvalid, StreamUnknown
from headwater.streams.merge import Path, find, lay_over, leaves, without
from headwater.streams.sampling import in_sample_hash64
from headwater.streams.stream import Stream
from headwater.streams.stream_file import stream_of
from headwater.times import ms_of, utc_seconds

REALM_DEFAULT = "production"


@dataclass(frozen=True, slots=True)
class Scope:
    """For whom streams are made: a site (None: no particular one) of a realm, at a time in epoch seconds.

    `at` None: no time, and layers with a window do not hold.
    """

    site: str | None = None
    realm: str = REALM_DEFAULT
    at: float | None = None


@dataclass(frozen=True, slots=True)
class When:
    """Where and when a layer holds. Empty sets say nothing; all that is said must be so. Times are epoch seconds.

    `percent`: of the sites, so many, drawn by hashing `draw` and the site: those drawn stay drawn as it grows.
    """

    sites: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    realms: frozenset[str] = frozenset()
    not_before: float | None = None
    not_after: float | None = None
    percent: float | None = None
    draw: str = ""

    @classmethod
    def read(cls, written: Mapping[str, Any]) -> When:
        """From a checked `when` block: each condition is a text or a list of texts."""

        def several(name: str) -> frozenset[str]:
            value = written.get(name, ())
            return frozenset((value,) if isinstance(value, str) else value)

        return cls(several("site"), several("site_group"), several("realm"))

    def holds(self, scope: Scope, groups: Iterable[str]) -> bool:
        """Whether it holds for `scope`, whose site is in `groups`. The window includes its start, not its end."""
        if self.sites and scope.site not in self.sites:
            return False
        if self.realms and scope.realm not in self.realms:
            return False
        if self.groups and self.groups.isdisjoint(groups):
            return False
        if self.percent is not None and not (
            scope.site is not None and in_sample_hash64(self.draw, "", scope.site, self.percent / 100)
        ):
            return False
        if self.not_before is None and self.not_after is None:
            return True
        if scope.at is None:
            return False
        return (self.not_before or scope.at) <= scope.at and (self.not_after is None or scope.at < self.not_after)

    def __str__(self) -> str:
        named = (("site", self.sites), ("group", self.groups), ("realm", self.realms))
        parts = [f"{name} {', '.join(sorted(values))}" for name, values in named if values]
        if self.percent is not None:
            parts.append(f"{self.percent:g} % of the sites")
        for word, seconds in (("from", self.not_before), ("until", self.not_after)):
            if seconds is not None:
                parts.append(f"{word} {utc_seconds(ms_of(seconds))}")
        return ", ".join(parts) or "everywhere"


EVERYWHERE = When()


@dataclass(frozen=True, slots=True)
class Layer:
    """One patch: `unset` (dotted keys) first, then `set`, whose keys are those of a stream file.

    `name` says to people what it is ("defaults.yaml", "revision 17"). `stream`: the one it is about, where it is not
    already in that stream's own pile; None: all. `lines` has the 1-based line of each key of `set`.
    """

    name: str
    set: Mapping[str, Any] = field(default_factory=dict)
    unset: tuple[str, ...] = ()
    when: When = EVERYWHERE
    stream: str | None = None
    file: str | None = None
    line: int | None = None
    lines: Mapping[KeyPath, int] = field(default_factory=dict, compare=False, repr=False)

    def apply(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """`document` with this patch; the argument is not changed."""
        for dotted in self.unset:
            document = without(document, dotted)
        merged: dict[str, Any] = lay_over(dict(document), dict(self.set))
        return merged

    def line_of(self, path: Path) -> int | None:
        """The line on which it sets the key at `path`, or unsets it."""
        steps: KeyPath = path
        while steps and steps not in self.lines:
            steps = steps[:-1]
        return self.lines.get(steps, self.line)


@dataclass(frozen=True, slots=True)
class Step:
    """What one layer did to one key: set it to `value`, or removed it."""

    layer: Layer
    value: Any = None
    removed: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """One declaration: its own layers, low to high.

    `made`: the stream as something other than the layers made it (legacy rules, code), right wherever nothing else is
    laid over it. `takes_defaults`: whether the directory's defaults lie under it. `implied`: nobody
    declared it, something else needs it.
    """

    name: str
    layers: tuple[Layer, ...]
    file: str | None = None
    line: int | None = None
    made: Stream | None = None
    takes_defaults: bool = True
    implied: bool = False

    @classmethod
    def of_stream(cls, stream: Stream, *, implied: bool = False) -> Entry:
        """The entry of a stream that code declares."""
        document: dict[str, Any] = dict(stream.declared) or {
            "stream": stream.name,
            "produce": {"deduplicate": stream.deduplicate, "meta_dt": stream.meta_dt},
            "docs": {"summary": stream.summary},
        } | ({"schema_title": stream.schema_title} if stream.schema_title else {})
        layer = Layer("declared in code" if stream.file is None else stream.file, document, file=stream.file)
        return cls(stream.name, (layer,), stream.file, stream.line, made=stream, takes_defaults=False, implied=implied)


@dataclass(frozen=True, slots=True)
class StreamLayers:
    """All declarations of a set of streams, with what lies under and over them. Immutable.

    `groups` is each group's sites; a site is in any number of groups. `defaults` lie under the entries that take them,
    `revisions` over all, in this order: the last that holds wins.
    """

    entries: Mapping[str, Entry] = field(default_factory=dict)
    defaults: tuple[Layer, ...] = ()
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    revisions: tuple[Layer, ...] = ()

    @classmethod
    def of_entries(
        cls,
        entries: Iterable[Entry],
        defaults: tuple[Layer, ...] = (),
        groups: Mapping[str, Sequence[str]] | None = None,
        refused: Callable[[ConfigInvalid], None] | None = None,
    ) -> StreamLayers:
        """Raises ConfigInvalid where two entries have one name; with `refused` the second is given to it."""
        by_name: dict[str, Entry] = {}
        for entry in entries:
            first = by_name.setdefault(entry.name, entry)
            if first is entry:
                continue
            error = _declared_twice(first, entry)
            if refused is None:
                raise error
            refused(error)
        return cls(by_name, defaults, groups or {})

    def with_entries(self, added: Iterable[Entry]) -> StreamLayers:
        """The same and more. Raises ConfigInvalid where two entries have one name."""
        more = StreamLayers.of_entries([*self.entries.values(), *added])
        return dataclasses.replace(self, entries=more.entries)

    def with_revisions(self, revisions: Iterable[Layer]) -> StreamLayers:
        """The same with these revisions instead of those there were."""
        return dataclasses.replace(self, revisions=tuple(revisions))

    def groups_of(self, site: str | None) -> frozenset[str]:
        return frozenset(group for group, sites in self.groups.items() if site in sites)

    def holding(self, name: str, scope: Scope) -> list[Layer]:
        """The layers that make the stream `name` for `scope`, low to high. Raises StreamUnknown."""
        entry = self._entry(name)
        groups = self.groups_of(scope.site)
        pile = (*(self.defaults if entry.takes_defaults else ()), *entry.layers, *self.revisions)
        return [layer for layer in pile if layer.stream in (None, name) and layer.when.holds(scope, groups)]

    def setter(self, name: str, path: Path, scope: Scope) -> Layer | None:
        """The layer of a file that says what holds at `path` for `scope`, if one does. Raises StreamUnknown."""
        layers = reversed(self.holding(name, scope))
        return next((layer for layer in layers if layer.lines and find(layer.set, ".".join(path))), None)

    def document(self, name: str, scope: Scope) -> dict[str, Any]:
        """The stream file that says all of what holds, defaults and overrides laid into it. Raises StreamUnknown."""
        document: dict[str, Any] = {}
        for layer in self.holding(name, scope):
            document = layer.apply(document)
        return document

    def stream(self, name: str, scope: Scope) -> Stream | None:
        """The stream `scope` sees, None where there is none for it. Raises StreamUnknown, ConfigInvalid."""
        entry = self._entry(name)
        if entry.made is not None and self.holding(name, scope) == list(entry.layers):
            return entry.made
        document = self.document(name, scope)
        if document.get("exists") is False:
            return None
        _check_whole(document, entry)
        return stream_of(document, entry.file, entry.line)

    def streams(self, scope: Scope) -> Iterator[Stream]:
        """All streams `scope` sees, in order of declaration. Raises ConfigInvalid."""
        for name in self.entries:
            stream = self.stream(name, scope)
            if stream is not None:
                yield stream

    def steps(self, name: str, scope: Scope) -> Mapping[Path, Sequence[Step]]:
        """What each layer did to each key, low to high, as paths to values that are no mappings. Raises StreamUnknown.

        The last step of a path says what holds; a path whose last step removed it is not in the document.
        """
        done: dict[Path, list[Step]] = {}
        document: dict[str, Any] = {}
        for layer in self.holding(name, scope):
            before, document = dict(leaves(document)), layer.apply(document)
            after, own = dict(leaves(document)), {path for path, _ in leaves(layer.set)}
            for path in before:
                if path not in after:
                    done[path].append(Step(layer, removed=True))
            for path, value in after.items():
                if path and (path in own or path not in before or before[path] != value):
                    done.setdefault(path, []).append(Step(layer, value))
        return done

    def _entry(self, name: str) -> Entry:
        entry = self.entries.get(name)
        if entry is None:
            raise StreamUnknown(
                f'The stream "{name}" is not declared.', hint="`headwater streams list` names them all."
            )
        return entry


def _check_whole(document: Mapping[str, Any], entry: Entry) -> None:
    """What no single layer can be asked for, since another may supply it."""
    if "schema_title" not in document:
        hint = "Say the title of the schemas its events have."
        raise ConfigInvalid('"schema_title" is missing.', file=entry.file, line=entry.line, hint=hint)
    transport = document.get("transport", {})
    if stream_of(document).compact and not transport.get("message_key_fields"):
        line = next((line for layer in reversed(entry.layers) if (line := _line_of_compact(layer))), entry.line)
        message = "a compacted stream needs transport.message_key_fields."
        raise ConfigInvalid(message, file=entry.file, line=line)


def _line_of_compact(layer: Layer) -> int | None:
    if find(layer.set, "transport.compact") or find(layer.set, "transport.kafka.cleanup_policy"):
        return layer.line_of(("transport", "compact"))
    return None


def _declared_twice(first: Entry, second: Entry) -> ConfigInvalid:
    where = f" in {first.file}" if first.file else ""
    return ConfigInvalid(
        f'the stream "{second.name}" is already declared{where}{f":{first.line}" if first.line else ""}.',
        file=second.file,
        line=second.line,
        hint="Remove one of the two.",
    )
