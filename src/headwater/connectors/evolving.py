"""A sink of a table whose columns may change: by a newer version of the schema, or because the table has others.

How this works: `open` compares the columns that are wanted with those that the table has, and the sink's contract says
what becomes of the difference. An event with a version of the schema that is newer than the one known leads to the same
before it is written. A difference that cannot be removed raises SinkFrozen: nothing is written, the runner tries again
after a pause, and each time it is compared again.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headwater.connectors.contract import Delivery, SetsAside, Sink, TableShape, Widens
from headwater.connectors.discarding import Discarding, OnDiscarded
from headwater.connectors.evolution import TableChange, present_as, settled
from headwater.connectors.schema_columns import SchemaTypes
from headwater.connectors.spec import ConfiguredSink, TableSink
from headwater.connectors.tables import TableView
from headwater.errors import (
    ConfigInvalid,
    JobInvalid,
    SchemaNotFound,
    SinkFrozen,
    SinkUnavailable,
    TypeUnmappable,
    WriteIncomplete,
    WriterFenced,
)
from headwater.schemas.uri import version_of

FROZEN_PAUSE_SECONDS = 2.0
VERSIONS_SEEN_MAX = 1000


@dataclass(frozen=True, slots=True)
class Target:
    """Where a table is: the sink as it is configured, with its secrets, and what finds the types of schemas."""

    configured: ConfiguredSink
    secrets: Mapping[str, Any]
    directory: Path
    types: SchemaTypes

    def sink(self, shape: TableShape) -> Sink:
        """The sink of that shape, closed."""
        return self.configured.made(shape, self.secrets, self.directory)

    def wanted(self, declared: TableShape) -> tuple[TableShape, str | None]:
        """The shape with the columns of the newest schema, and its version, where they follow from one. Blocks.

        Raises SinkFrozen if the schema has become one that gives no columns; SchemaUnavailable.
        """
        title = self.configured.schema_title
        if title is None:
            return declared, None
        try:
            found = self.types.columns(title, self.configured.spec.name)
            return dataclasses.replace(declared, columns=found.columns), found.version
        except (ConfigInvalid, JobInvalid, SchemaNotFound, TypeUnmappable) as error:
            raise SinkFrozen(
                f"The newest schema {title} gives no columns for the table {declared.name}: {error.message}",
                hint=error.hint or "Repair the schema, or list the columns of the sink.",
                back_off_seconds=FROZEN_PAUSE_SECONDS,
            ) from error

    def change(self, wanted: TableShape, before: TableShape | None) -> TableChange:
        """What the table needs to hold these columns. Blocks. Raises SinkUnavailable.

        `before`: what it had when it was opened last, for a target that cannot be asked.
        """
        if self.configured.spec.describe is not None:
            present = self.configured.described(wanted, self.secrets, self.directory)
        else:
            present = None if before is None else present_as(before)
        widens = self.configured.widens(wanted, self.secrets, self.directory)
        return settled(self.configured.contract, wanted, present, widens=widens)


class EvolvingSink:
    """Fills a table, which has the columns of `declared` until newer ones are known."""

    def __init__(
        self, target: Target, declared: TableShape, on_discarded: OnDiscarded = lambda what, count: None
    ) -> None:
        self._target = target
        self._wanted = declared
        self._version: str | None = None
        self._before: TableShape | None = None
        self._on_discarded = on_discarded
        self._inner, self._shape = target.sink(declared), declared
        self._discarding = Discarding(declared, (), target.configured.contract, on_discarded)
        # The URIs of schemas that ask for nothing new, and whether an event had another one since it was compared.
        self._seen: set[str] = set()
        self._newer: set[str] = set()
        self._token: str | None = None
        self.features = self._inner.features

    async def open(self) -> str | None:
        """As the sink. Raises SinkFrozen, too."""
        self._token = await self._opened(*await asyncio.to_thread(self._compared))
        return self._token

    def check(self, delivery: Delivery) -> None:
        uri = delivery.value.get("$schema")
        if uri not in self._seen and self._is_new(uri):
            # Whether it fits is known when the table has been compared with its schema.
            self._newer.add(str(uri))
        elif not self._newer:
            self._inner.check(self._discarding.stripped(delivery))

    async def write(self, deliveries: Sequence[Delivery], token: str) -> None:
        if self._newer:
            await self._change(token)
        kept = self._discarding.kept(deliveries)
        try:
            await self._inner.write([delivery for _, delivery in kept], token)
        except WriteIncomplete as incomplete:
            if not self.features.token_in_target:
                self._discarding.written()
            raise _at_given_places(incomplete, [index for index, _ in kept]) from incomplete
        self._token = token
        self._discarding.written()

    async def set_aside(self) -> str | None:
        """As `SetsAside`; a sink that does not support it keeps its rows."""
        found = await self._inner.set_aside() if isinstance(self._inner, SetsAside) else None
        self._token = None
        return found

    async def close(self) -> None:
        await self._inner.close()

    def _is_new(self, uri: Any) -> bool:
        """Whether it may name a version of the schema that is not known yet; otherwise it is remembered."""
        title = self._target.configured.schema_title
        if title is not None and isinstance(uri, str) and uri.strip("/").startswith(f"{title}/"):
            known, named = version_of(self._version or ""), version_of(uri.rpartition("/")[2])
            if named is not None and (known is None or named > known):
                return True
        if isinstance(uri, str) and len(self._seen) < VERSIONS_SEEN_MAX:
            self._seen.add(uri)
        return False

    def _compared(self) -> tuple[TableShape, str | None, TableChange]:
        """What is wanted, by which version, and the change that the table needs. Blocks. Raises SinkFrozen."""
        wanted, version = self._target.wanted(self._wanted)
        change = self._target.change(wanted, self._before)
        if change.conflicts:
            raise self._frozen(change)
        return wanted, version, change

    async def _opened(self, wanted: TableShape, version: str | None, change: TableChange) -> str | None:
        inner = self._inner if change.shape == self._shape else self._target.sink(change.shape)
        if change.widened and not isinstance(inner, Widens):
            raise self._frozen(change)
        await self._inner.close()
        self._inner, self._shape = inner, change.shape
        token = await inner.open()
        if change.widened and isinstance(inner, Widens):
            await inner.widen(change.widened)
        self._wanted, self._version, self._before = wanted, version, change.shape
        self._discarding = Discarding(
            change.shape, change.left_out, self._target.configured.contract, self._on_discarded
        )
        return token

    async def _change(self, token: str) -> None:
        """Make the table as the newest schema wants it, before the batch with this token is written."""
        newer = set(self._newer)
        wanted, version, change = await asyncio.to_thread(self._compared)
        if wanted != self._wanted or change.shape != self._shape or change.is_needed or change.left_out:
            found = await self._opened(wanted, version, change)
            if self.features.token_in_target and found not in (self._token, token):
                # Opening has made it the known one; another process has written the table meanwhile.
                await self._inner.close()
                raise WriterFenced(f"Another process has written the table {wanted.name} since this one opened it.")
        # Also those of which the repository knows nothing: asking again would not help.
        self._seen |= newer
        self._newer -= newer

    def _frozen(self, change: TableChange) -> SinkFrozen:
        table, contract = change.shape.name, self._target.configured.contract
        reasons = [*change.conflicts]
        if not reasons:
            reasons = [f"the column {one.name} cannot be made {one.type}" for one in change.widened]
        hint = "Add the columns with `headwater apply`" if contract == "freeze" else "Repair the schema or the table"
        return SinkFrozen(
            f"The table {table} cannot hold its events: {'; '.join(reasons)}. Nothing is lost: they stay in the log.",
            hint=f"{hint}, list the columns of the sink, or choose another `contract` or `table`; it then continues.",
            back_off_seconds=FROZEN_PAUSE_SECONDS,
        )


class ReadableEvolvingSink(EvolvingSink):
    """The same for a sink whose table can be read."""

    @property
    def shape(self) -> TableShape:
        return self._readable().shape

    def view(self, rows_max: int, order: str = "") -> TableView:
        """As `Readable`."""
        return self._readable().view(rows_max, order)

    def _readable(self) -> TableSink:
        inner = self._inner
        if not isinstance(inner, TableSink):
            raise SinkUnavailable(f"The table {self._wanted.name} cannot be read.")
        return inner


def evolving(target: Target, declared: TableShape, on_discarded: OnDiscarded) -> EvolvingSink:
    """The sink of a table, as its target can be read or not."""
    kind = ReadableEvolvingSink if target.configured.spec.features.reads_back else EvolvingSink
    return kind(target, declared, on_discarded)


def _at_given_places(incomplete: WriteIncomplete, places: Sequence[int]) -> WriteIncomplete:
    """The same about the indexes of the events as they were given."""
    if places == list(range(len(places))) or not all(
        0 <= index < len(places) for index in (*incomplete.rejected, *incomplete.retry)
    ):
        return incomplete
    return WriteIncomplete(
        rejected={places[index]: error for index, error in incomplete.rejected.items()},
        retry=[places[index] for index in incomplete.retry],
        message=incomplete.reason,
        back_off_seconds=incomplete.back_off_seconds,
    )
