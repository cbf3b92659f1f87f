"""The `sinks:` of stream files as jobs without steps: each gives the events of one stream to another system."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, assert_never

from headwater.connectors.contract import COLUMN_TYPES, Column, DeleteWhen, EventShape, Shape, TableShape
from headwater.connectors.schema_columns import SchemaColumns, SchemaTypes, named
from headwater.connectors.spec import ConfiguredSink, Form, SinkSpec
from headwater.declaration import Declaration, KeyPath, dotted, nearest
from headwater.errors import ConfigInvalid, ExtraMissing, HeadwaterError, JobInvalid
from headwater.jobs.job import Job, ToTable
from headwater.jobs.place import Place, relative_file
from headwater.jobs.sink_delivery import DeliveryOptions, read_delivery
from headwater.options import fields_of, read_section
from headwater.settings import setting
from headwater.streams.registry import StreamRegistry
from headwater.streams.stream import Stream

CONNECTOR = "connector"
SINKS = "sinks"
_DELETE_WHEN = (
    "Which events delete what their key stands for: dotted path → value, or a list of values, such as"
    " `{changelog_kind: delete}`; several paths must all hold. An older event brings nothing back that was deleted."
)
_COLUMN_TAKES = "a type, or a list of a type and a dotted path"


@dataclass(frozen=True, slots=True)
class TableOptions:
    """What every sink that fills a table takes, besides the options of its connector."""

    columns: Mapping[str, Any] | None = setting(
        None,
        "Column → type, or `[type, dotted path]` if the field has another name. Types: "
        f"{', '.join(f'`{kind}`' for kind in COLUMN_TYPES)}. Null: those of the newest version of the stream's schema.",
    )
    table: str | None = setting(
        None,
        "The name of the table; null: the name of the stream in lower case, with `_` for everything but letters and"
        " digits. Names of tables are unique in a project.",
    )
    key: tuple[str, ...] = setting(
        (),
        "The columns that identify a row, or their dotted paths: an event replaces the row with the same key. Without"
        " it, a row per event.",
    )
    version: str = setting(
        "",
        "The column, or its dotted path, by which rows of a key are newer or older: an older event never replaces a"
        " newer one. Without it"
        " the event that arrives last is the row.",
    )
    order: str = setting("", "The order in which the table is shown, such as `edits desc, wiki`.")
    delete_when: Mapping[str, Any] = setting({}, _DELETE_WHEN)
    contract: Literal["evolve", "freeze", "discard_row", "discard_value"] = setting(
        "evolve",
        "What happens when events have other columns than the table, after a new version of the schema or a change"
        " here. `evolve`: columns are added, and widened where nothing is lost; what cannot be so freezes the sink, and"
        " its events stay in the log. `freeze`: every difference freezes it until `headwater apply` changes the table."
        " `discard_row`, `discard_value`: the table stays as it is, and such events, or their new values, are left out"
        " and counted.",
    )


@dataclass(frozen=True, slots=True)
class EventOptions:
    """What every sink that is given whole events takes, besides the options of its connector."""

    name: str | None = setting(
        None,
        "The name of the sink; null: the name of the stream in lower case, with `_` for everything but letters and"
        " digits.",
    )
    key: tuple[str, ...] = setting(
        (),
        "The dotted paths whose values say what an event is about, such as `meta.id`; events of one key keep their"
        " order.",
    )
    version: str = setting("", "The dotted path by which one event of a key is newer or older than another.")
    delete_when: Mapping[str, Any] = setting({}, _DELETE_WHEN)


# By the form of the sink, what is read besides the options of its connector.
COMMON: Mapping[Form, type[TableOptions] | type[EventOptions]] = {"table": TableOptions, "events": EventOptions}

FindSink = Callable[[str], SinkSpec]
Refused = Callable[[ConfigInvalid], None]


@dataclass(frozen=True, slots=True)
class Known:
    """What sinks are read with: connectors by name, the types of schemas, and the directory of the project."""

    find_sink: FindSink
    types: SchemaTypes
    project: Path


def sink_jobs(streams: StreamRegistry, known: Known, refused: Refused | None = None) -> Iterator[Job]:
    """A job for each sink of each stream, in order of declaration.

    Raises ConfigInvalid with file and line; if `refused` is given, it is called with each of these errors instead, and
    the invalid sinks are left out.
    """
    for stream in streams.entries():
        if not (written := stream.declared.get(SINKS)):
            continue
        source = _declaration(streams, stream)
        if stream.is_family and source.file != stream.file:
            # Sinks in the defaults apply to streams that are declared by name.
            continue
        for index in range(len(written)):
            try:
                yield _job(stream, index, source, known)
            except ConfigInvalid as error:
                if refused is None:
                    raise
                refused(error)


def _declaration(streams: StreamRegistry, stream: Stream) -> Declaration:
    """The stream's declaration, with the lines of the file that says which sinks it has."""
    layer = streams.layers.setter(stream.name, (SINKS,), streams.scope)
    file = (layer.file if layer is not None else None) or stream.file or stream.name
    return Declaration(file, stream.declared, layer.lines if layer is not None else {})


def _job(stream: Stream, index: int, source: Declaration, known: Known) -> Job:
    path: KeyPath = (SINKS, index)
    if stream.is_family:
        raise source.refusal(path, "a family of streams has no sinks.", hint="Declare a stream of it by name.")
    written = source.value[SINKS][index]
    if CONNECTOR not in written:
        near = nearest(CONNECTOR, map(str, written))
        hint = f'Is "{near}" meant to be "{CONNECTOR}"?' if near else "Such as `connector: sqlite`."
        raise source.refusal((*path, near) if near else path, f"{dotted(path)} needs a connector.", hint=hint)
    spec = _spec(source, (*path, CONNECTOR), written[CONNECTOR], known.find_sink)
    common, own = fields_of(COMMON[spec.form]), fields_of(spec.options)
    source.refuse_unknown_keys(path, written, (CONNECTOR, *common, *fields_of(DeliveryOptions), *own))
    delivery = read_delivery(written, spec, source, path)
    asked = read_section(
        COMMON[spec.form], {key: value for key, value in written.items() if key in common}, source, path
    )
    options = spec.read({key: value for key, value in written.items() if key in own}, source, path)
    reading = _Reading(stream, spec, known, source, path)
    shape = reading.shape(asked)
    reading.check(options, shape)
    place = Place(relative_file(Path(source.file), known.project), source.line(path) or 1)
    sink = reading.configured(asked, options, str(place))
    return Job(
        name=f"sink.{shape.name}",
        sources=(stream.name,),
        output=ToTable(shape, sink, delivery.batch, delivery.attempts_max),
        on_error=delivery.on_error,
        start=delivery.start,
        summary=_summary(shape, spec),
        place=place,
        project=known.project,
    )


def _spec(source: Declaration, path: KeyPath, name: Any, find_sink: FindSink) -> SinkSpec:
    try:
        return find_sink(str(name))
    except ConfigInvalid as error:
        raise source.refusal(path, error.detail, hint=error.hint) from None
    except ExtraMissing as error:
        raise source.refusal(path, error.message, hint=error.hint) from None


def _summary(shape: Shape, spec: SinkSpec) -> str:
    match shape:
        case TableShape(name):
            return f"Fills the table {name} by the connector {spec.name}."
        case EventShape(name):
            return f"Gives events to {name} by the connector {spec.name}."
        case _:
            assert_never(shape)


@dataclass(frozen=True, slots=True)
class _Reading:
    """One sink while it is read: `path` is where it is written in `source`."""

    stream: Stream
    spec: SinkSpec
    known: Known
    source: Declaration
    path: KeyPath

    def shape(self, options: TableOptions | EventOptions) -> Shape:
        deletes = _delete_when(options.delete_when, self.spec, self.source, (*self.path, "delete_when"))
        unnamed = re.sub(r"[^a-z0-9]", "_", self.stream.name.lower())
        try:
            match options:
                case EventOptions():
                    return EventShape(options.name or unnamed, options.key, options.version, deletes)
                case TableOptions():
                    return self._table(options, options.table or unnamed, deletes)
                case _:
                    assert_never(options)
        except JobInvalid as error:
            raise self.source.refusal(self.path, error.detail, hint=error.hint) from None

    def check(self, options: Any, shape: Shape) -> None:
        """Raises ConfigInvalid if the connector cannot fill a table of this shape with these options."""
        try:
            self.spec.check(options, shape)
        except JobInvalid as error:
            raise self.source.refusal(self.path, error.detail, hint=error.hint) from None
        except ConfigInvalid as error:
            raise self.source.refusal(self.path, error.detail, hint=error.hint) from None

    def configured(self, common: TableOptions | EventOptions, options: Any, place: str) -> ConfiguredSink:
        """The sink with the options of its connector."""
        match common:
            case TableOptions(columns=columns, contract=contract):
                title = self.stream.schema_title if columns is None else None
                return ConfiguredSink(self.spec, options, place, title, contract)
            case EventOptions():
                return ConfiguredSink(self.spec, options, place)
            case _:
                assert_never(common)

    def _table(self, options: TableOptions, name: str, deletes: DeleteWhen) -> TableShape:
        if options.columns is not None:
            at = (*self.path, "columns")
            columns = tuple(_column(*item, self.source, (*at, item[0])) for item in options.columns.items())
        else:
            columns = self._of_schema().columns
        key, version = tuple(named(columns, one) for one in options.key), named(columns, options.version)
        return TableShape(name, columns, key, options.order, version, delete_when=deletes)

    def _of_schema(self) -> SchemaColumns:
        title = self.stream.schema_title
        where = f"{dotted(self.path)} lists no columns"
        if title is None:
            message = f"{where}, and the stream {self.stream.name} has no schema from which they could follow."
            raise self.source.refusal(self.path, message, hint="Add `columns`, or `schema_title` to the stream.")
        try:
            return self.known.types.columns(title, self.spec.name)
        except HeadwaterError as error:
            message = f"{where}, and the schema {title} gives none: {error.message}"
            raise self.source.refusal(self.path, message, hint=error.hint or "Add `columns`.") from None


def _delete_when(written: Mapping[str, Any], spec: SinkSpec, source: Declaration, path: KeyPath) -> DeleteWhen:
    if written and not spec.features.deletes:
        raise source.refusal(path, f"{dotted(path)}: the sink {spec.name} deletes nothing.", hint="Leave it out.")
    deletes = []
    for at, wanted in written.items():
        values = wanted if isinstance(wanted, list) else [wanted]
        if not all(at.split(".")) or not values or not all(isinstance(value, str | int | None) for value in values):
            raise source.refusal(
                (*path, at),
                f"{dotted((*path, at))} must be a dotted path and a value, or a list of values: texts, whole numbers,"
                " true, false or null.",
                hint="Such as `{changelog_kind: delete}`.",
            )
        deletes.append((at, tuple(values)))
    return tuple(deletes)


def _column(name: str, written: Any, source: Declaration, path: KeyPath) -> Column:
    kind, at = (written, name) if isinstance(written, str) else written if _is_pair(written) else (None, None)
    if not isinstance(kind, str) or not isinstance(at, str) or not all(at.split(".")):
        raise source.refusal(path, f"{dotted(path)} must be {_COLUMN_TAKES}.", hint="Such as `[text, performer.name]`.")
    if kind not in COLUMN_TYPES:
        near = nearest(kind, COLUMN_TYPES)
        hint = f'Did you mean "{near}"?' if near else f"Known: {', '.join(COLUMN_TYPES)}."
        raise source.refusal(path, f"{dotted(path)} has the unknown type {kind!r}.", hint=hint)
    return Column(name, kind, at)


def _is_pair(written: Any) -> bool:
    return isinstance(written, list) and len(written) == 2
