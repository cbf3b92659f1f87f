"""What `headwater connectors` says of a connector, from its spec."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from headwater.declaration import suggestion
from headwater.errors import ConfigInvalid, ExtraMissing
from headwater.options import alternatives, in_words, is_required

if TYPE_CHECKING:
    from headwater.connectors.source_spec import SourceSpec
    from headwater.connectors.spec import SinkSpec

Side = Literal["sink", "source"]
SIDES: Sequence[Side] = ("sink", "source")


@dataclasses.dataclass(frozen=True, slots=True)
class Known:
    """A connector by name, a sink or a source. `spec` is None, and `missing` says why, if it cannot be loaded."""

    name: str
    side: Side
    spec: SinkSpec | SourceSpec | None
    missing: str | None = None

    @property
    def form(self) -> str | None:
        """What it is given or gives: the rows of a table, or whole events; None if it cannot be loaded."""
        return None if self.spec is None else getattr(self.spec, "form", "events")


def known_connectors() -> Iterator[Known]:
    """Our own and those of installed packages, by name: the sinks, then the sources."""
    for side in SIDES:
        for name in _names(side):
            yield _known(name, side)


def known(name: str, sides: Sequence[Side] = SIDES) -> list[Known]:
    """The connectors of that name: a sink, a source, or both. Raises ConfigInvalid, with the nearest name, if none."""
    found = [_known(name, side) for side in sides if name in _names(side)]
    if not found:
        names = sorted({one for side in sides for one in _names(side)})
        hint = suggestion(name, names) or f"Known: {', '.join(names)}."
        raise ConfigInvalid(f"There is no {' or '.join(sides)} {name!r:.100}.", hint=hint)
    return found


def _names(side: Side) -> list[str]:
    from headwater.connectors.registry import sink_names, source_names

    return sink_names() if side == "sink" else source_names()


def _known(name: str, side: Side) -> Known:
    from headwater.connectors.registry import sink_spec, source_spec

    try:
        return Known(name, side, sink_spec(name) if side == "sink" else source_spec(name))
    except ExtraMissing as error:
        return Known(name, side, None, " ".join(filter(None, (error.message, error.hint))))
    except ConfigInvalid as error:
        return Known(name, side, None, error.message)


def features_in_words(spec: SinkSpec | SourceSpec) -> list[str]:
    """What it can do, a clause each."""
    from headwater.connectors.spec import SinkSpec

    return _of_sink(spec) if isinstance(spec, SinkSpec) else _of_source(spec)


def _of_source(spec: SourceSpec) -> list[str]:
    features = spec.features
    said = ["its events are posted to `/v1/webhooks/NAME`"] if spec.pushed else []
    said += ["it has several partitions"] if features.partitions else []
    said += ["it begins with what exists and continues with changes"] if features.snapshot else []
    said += ["the upstream may delete what was confirmed"] if features.forgets else []
    said += ["it can begin at a time (`headwater sources rewind`)"] if features.seeks_time else []
    said += [f"it can begin after {features.seeks_position}, as well"] if features.seeks_position else []
    return said


def _of_sink(spec: SinkSpec) -> list[str]:
    features = spec.features
    said = [
        "position and rows are written together: nothing is written twice"
        if features.token_in_target
        else "after a crash the last batch is written again"
    ]
    if spec.form == "events":
        said.append("it is given whole events")
    if features.upsert:
        said.append("a row replaces the one with the same key")
    if features.deletes:
        said.append("`delete_when` deletes by key")
    if features.recognises_repeats:
        said.append("an event that is given to it once more is recognised by its id")
    if not features.reads_back:
        said.append("what it has written is not shown on pages and in `headwater sql`")
    return said


def options_of(options: type[Any]) -> list[dict[str, Any]]:
    """The options of a section: name, values, default and meaning; None as default of a required one."""
    hints = typing.get_type_hints(options)
    return [
        {
            "name": one.name,
            "type": " or ".join(in_words(kind) for kind in alternatives(hints[one.name])),
            "required": is_required(one),
            "default": _default(one),
            "secret": not one.repr,
            "meaning": one.metadata["meaning"],
        }
        for one in dataclasses.fields(options)
    ]


def example_of(spec: SinkSpec | SourceSpec) -> str:
    """The `sinks:` of a stream file, or a file of a source, as an example."""
    from headwater.connectors.spec import SinkSpec

    if not isinstance(spec, SinkSpec):
        return spec.example
    key = "key: id" if spec.features.upsert or spec.form == "events" else ""
    options = ", ".join(filter(None, (f"connector: {spec.name}", spec.example, key)))
    return f"sinks:\n  - {{{options}}}\n"


def _default(option: dataclasses.Field[Any]) -> Any:
    if option.default_factory is not dataclasses.MISSING:
        return option.default_factory()
    return None if option.default is dataclasses.MISSING else option.default
