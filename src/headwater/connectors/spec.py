"""What a connector declares: its options, its features, and how it is created; everything else is derived from that.

A connector is one module with a `SPEC`. `check`, `plan`, errors and docs/reference/connectors.md ask the spec, so a new
connector adds its own file and a line in the registry, or an entry point in a package of its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from headwater.connectors.contract import PresentTable, Readable, Shape, Sink, SinkFeatures, TableShape, Widens
from headwater.connectors.evolution import Contract, TableChange
from headwater.connectors.references import read_options, secret_options
from headwater.connectors.tables import TargetState
from headwater.declaration import Declaration, KeyPath

# Whether a sink is given rows with columns, as a `TableShape` says, or whole events, as an `EventShape` says.
Form = Literal["table", "events"]


@runtime_checkable
class TableSink(Sink, Readable, Protocol):
    """A sink that fills a table which can be read."""


@dataclass(frozen=True, slots=True)
class BatchDefaults:
    """The batch that a kind of sink writes best. It is written when it has `rows_max` events or `bytes_max` bytes, and
    at the latest `seconds_max` after its first event; 0: what there is, is written at once."""

    rows_max: int = 1000
    bytes_max: int = 8_388_608
    seconds_max: float = 0.0


@dataclass(frozen=True, slots=True)
class SinkSpec:
    """A kind of sink.

    `options` is a dataclass of `settings.setting` fields; `make(options, shape, directory)` returns a closed sink, with
    relative paths in the project's directory; `shape` is a TableShape for a sink of the form "table", an EventShape for
    "events". `extra` is the one of headwater that installs its driver.

    `describe(options, shape, directory)` looks at the target, without changing anything, and blocks: the columns of the
    table, None if there is none; it raises SinkUnavailable. `statements(options, shape)` are those that create a table
    in the target, `alterations(options, change)` those that change one; in the options secrets are references. Without
    statements the first batch makes and changes what is needed. `target(options, shape, directory)` is the same as
    `describe` for a target without columns. With neither of them nobody asks what the target has.

    `file` is the path, among the options, of the local file that it fills. `example`
    are the options of an example, as YAML in one line, such as `path: var/orders.db`. `batch` is what it writes at
    once, unless a stream file says otherwise. `check(options, shape)` raises ConfigInvalid or JobInvalid where the
    options do not go together with each other or with the shape; secrets are references then. `fields(options)`: the
    dotted paths of the fields of events that the options name, besides those of the shape.
    """

    name: str
    summary: str
    options: type[Any]
    make: Callable[[Any, Any, Path], Sink]
    features: SinkFeatures
    extra: str | None = None
    statements: Callable[[Any, TableShape], Sequence[str]] = lambda options, shape: ()
    file: Callable[[Any], str] | None = None
    describe: Callable[[Any, TableShape, Path], PresentTable | None] | None = None
    alterations: Callable[[Any, TableChange], Sequence[str]] = lambda options, change: ()
    target: Callable[[Any, Any, Path], TargetState] | None = None
    form: Form = "table"
    example: str = ""
    batch: BatchDefaults = BatchDefaults()
    check: Callable[[Any, Any], None] = lambda options, shape: None
    fields: Callable[[Any], Sequence[str]] = lambda options: ()

    def read(self, written: Any, source: Declaration, path: KeyPath) -> Any:
        """The options written at `path`; secrets are the references to them. Raises ConfigInvalid."""
        return read_options(self.options, written, source, path)

    @property
    def secrets(self) -> tuple[str, ...]:
        """The options that may hold passwords."""
        return secret_options(self.options)


@dataclass(frozen=True, slots=True)
class ConfiguredSink:
    """A sink as a stream file configures it: its options, in which secrets are references. `place` is where.

    `schema_title`: the schema from which its columns follow; None if they are listed, or if it has none. `contract`:
    what becomes of events whose schema has other columns than the table.
    """

    spec: SinkSpec
    options: Any
    place: str = ""
    schema_title: str | None = None
    contract: Contract = "evolve"

    @property
    def references(self) -> dict[str, Any]:
        """What is written for each secret option."""
        return {key: getattr(self.options, key) for key in self.spec.secrets}

    def file(self, directory: Path) -> Path | None:
        """The file of this machine that it fills, if it fills one."""
        return None if self.spec.file is None else directory / self.spec.file(self.options)

    def made(self, shape: Shape, secrets: Mapping[str, Any], directory: Path) -> Sink:
        """The sink, closed, with `secrets` put in for their references."""
        return self.spec.make(self._with(secrets), shape, directory)

    def described(self, shape: TableShape, secrets: Mapping[str, Any], directory: Path) -> PresentTable | None:
        """The columns that the table has now; None if there is no table, or if it cannot be asked. Blocks.

        Raises SinkUnavailable, ExtraMissing.
        """
        if self.spec.describe is None:
            return None
        return self.spec.describe(self._with(secrets), shape, directory)

    def widens(self, shape: TableShape, secrets: Mapping[str, Any], directory: Path) -> bool:
        """Whether columns of its table can be given a wider type."""
        return isinstance(self.made(shape, secrets, directory), Widens)

    def state(self, shape: Shape, secrets: Mapping[str, Any], directory: Path) -> TargetState | None:
        """What there is in a target without columns; None if it cannot be asked. Blocks.

        Raises SinkUnavailable, ExtraMissing.
        """
        if self.spec.target is None:
            return None
        return self.spec.target(self._with(secrets), shape, directory)

    def _with(self, secrets: Mapping[str, Any]) -> Any:
        return dataclasses.replace(self.options, **secrets) if secrets else self.options
