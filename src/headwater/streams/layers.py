"""How streams are made from layers: defaults, file, overrides and revisions, as seen from a site at a time.

How this works: every declaration is a stack of layers, low to high. A layer sets and unsets keys of the stream file's
format and may apply only to some sites, groups or realms, or within a window of time. `StreamLayers` makes the streams
that a `Scope` sees by merging the layers that apply with the one merge rule, and can say which layer set what. A scope
without a site sees the layers that apply everywhere. Revisions are on top of everything: they change a running service
without a change of files.
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
    """The viewpoint streams are made for: a site (None: no particular one) of a realm, at a time in epoch seconds.

    `at` None: no time, and layers with a window do not apply.
    """

    site: str | None = None
    realm: str = REALM_DEFAULT
    at: float | None = None


@dataclass(frozen=True, slots=True)
class When:
    """Where and when a layer applies. Empty sets are no condition; all conditions must hold. Times are epoch seconds.

    `percent`: the share of the sites, drawn by hashing `draw` and the site: a drawn site stays drawn as the share
    grows.
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
        """Whether it applies to `scope`, whose site is in `groups`. The window includes its start, not its end."""
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

    `name` describes it for people ("defaults.yaml", "revision 17"). `stream`: the stream it is about, unless it is
    already in that stream's own stack; None: all. `lines` has the 1-based line of each key of `set`.
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
        """The line on which it sets or unsets the key at `path`."""
        steps: KeyPath = path
        while steps and steps not in self.lines:
            steps = steps[:-1]
        return self.lines.get(steps, self.line)


@dataclass(frozen=True, slots=True)
class Step:
    """The effect of one layer on one key: it set it to `value`, or removed it."""

    layer: Layer
    value: Any = None
    removed: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """One declaration: its own layers, low to high.

    `made`: the stream as something other than the layers made it (legacy rules, code), valid unless another layer
    applies over it. `takes_defaults`: whether the directory's defaults apply under it. `implied`: not declared, but
    needed by something else.
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
    """All declarations of a set of streams, with the layers under and over them. Immutable.

    `groups` is each group's sites; a site is in any number of groups. `defaults` apply under the entries that take
    them, `revisions` over all, in this order: the last one that applies wins.
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
        """Raises ConfigInvalid if two entries have the same name; with `refused`, the second is passed to it
        instead.
        """
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
        """The same with further entries. Raises ConfigInvalid if two entries have the same name."""
        more = StreamLayers.of_entries([*self.entries.values(), *added])
        return dataclasses.replace(self, entries=more.entries)

    def with_revisions(self, revisions: Iterable[Layer]) -> StreamLayers:
        """The same with these revisions instead of the current ones."""
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
        """The layer of a file that determines the value at `path` for `scope`, if one does. Raises StreamUnknown."""
        layers = reversed(self.holding(name, scope))
        return next((layer for layer in layers if layer.lines and find(layer.set, ".".join(path))), None)

    def document(self, name: str, scope: Scope) -> dict[str, Any]:
        """A stream file of everything that applies, with defaults and overrides merged in. Raises StreamUnknown."""
        document: dict[str, Any] = {}
        for layer in self.holding(name, scope):
            document = layer.apply(document)
        return document

    def stream(self, name: str, scope: Scope) -> Stream | None:
        """The stream `scope` sees, None if it does not exist there. Raises StreamUnknown, ConfigInvalid."""
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
        """The effect of each layer on each key, low to high, as paths to values that are not mappings. Raises
        StreamUnknown.

        The last step of a path determines its value; a path whose last step removed it is not in the document.
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
                f'The stream "{name}" is not declared.', hint="`headwater streams list` lists the declared streams."
            )
        return entry


def _check_whole(document: Mapping[str, Any], entry: Entry) -> None:
    """Check what a single layer need not have, since another may supply it."""
    if "schema_title" not in document:
        hint = "Give the title of the schema of its events."
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
