"""What `headwater connectors` says of a connector, from its spec."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from headwater.errors import ConfigInvalid, ExtraMissing
from headwater.options import alternatives, in_words, is_required

if TYPE_CHECKING:
    from headwater.connectors.spec import SinkSpec


@dataclasses.dataclass(frozen=True, slots=True)
class Known:
    """A connector by name. `spec` is None, and `missing` says why, if it cannot be loaded."""

    name: str
    spec: SinkSpec | None
    missing: str | None = None


def known_connectors() -> Iterator[Known]:
    """Our own and those of installed packages, by name."""
    from headwater.connectors.registry import sink_names

    for name in sink_names():
        yield known(name)


def known(name: str) -> Known:
    """The connector of that name. Raises ConfigInvalid, with the nearest name, if there is none."""
    from headwater.connectors.registry import sink_names, sink_spec

    if name not in sink_names():
        sink_spec(name)
    try:
        return Known(name, sink_spec(name))
    except ExtraMissing as error:
        return Known(name, None, " ".join(filter(None, (error.message, error.hint))))
    except ConfigInvalid as error:
        return Known(name, None, error.message)


def features_in_words(spec: SinkSpec) -> list[str]:
    """What it can do, a clause each."""
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


def example_of(spec: SinkSpec) -> str:
    """The `sinks:` of a stream file, as an example."""
    key = "key: id" if spec.features.upsert or spec.form == "events" else ""
    options = ", ".join(filter(None, (f"connector: {spec.name}", spec.example, key)))
    return f"sinks:\n  - {{{options}}}\n"


def _default(option: dataclasses.Field[Any]) -> Any:
    if option.default_factory is not dataclasses.MISSING:
        return option.default_factory()
    return None if option.default is dataclasses.MISSING else option.default
