"""What becomes of a table when a newer version of the schema has other columns, as tests: for every sink of tables.

class TestPostgresEvolution(EvolutionSuite):
    implementations = (PostgresSink,)

    @pytest.fixture
    def configured(self, dsn) -> Configured:   # the connector, its options, and the directory of relative paths
        return Configured(SPEC, PostgresOptions(dsn), Path())

The connector's spec needs `describe`, by which the suite sees the table as others do.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from headwater.connectors.contract import Delivery, TableShape, Widens
from headwater.connectors.evolution import Contract
from headwater.connectors.evolving import ReadableEvolvingSink, Target
from headwater.connectors.schema_columns import SchemaTypes
from headwater.connectors.spec import ConfiguredSink, SinkSpec
from headwater.errors import SinkFrozen, WriterFenced
from headwater.schemas.repository import open_repositories
from headwater.testing.suites.contract_suite import ContractSuite

TITLE = "suite/page"
FIELDS = {"title": {"type": "string"}, "rev": {"type": "integer"}, "size": {"type": "integer"}}
BEYOND_EXACT = 2**53 + 1


class Configured(NamedTuple):
    """A connector with its options; relative paths are in `directory`."""

    spec: SinkSpec
    options: Any
    directory: Path


def page(title: str, rev: int, version: str = "1.0.0", **more: Any) -> Delivery:
    """An event of the suite."""
    return Delivery({"$schema": f"/{TITLE}/{version}", "title": title, "rev": rev, **more})


class EvolutionSuite(ContractSuite):
    """Subclass it; see the module."""

    contracts = (Widens,)

    @pytest.fixture
    def schemas(self, tmp_path: Path) -> Callable[..., Path]:
        """Writes a version of the schema with these fields besides those that all have; returns its file."""

        def write(version: str, **fields: Any) -> Path:
            file = tmp_path / "suite-schemas" / TITLE / f"{version}.yaml"
            file.parent.mkdir(parents=True, exist_ok=True)
            document = {"title": TITLE, "$id": f"/{TITLE}/{version}", "type": "object"}
            properties = {name: kind for name, kind in {**FIELDS, **fields}.items() if kind is not None}
            file.write_text(json.dumps({**document, "properties": properties}))
            return file

        write("1.0.0")
        return write

    @pytest.fixture
    def discarded(self) -> Counter[str]:
        return Counter()

    @pytest.fixture
    def new(
        self, configured: Configured, schemas: Callable[..., Path], tmp_path: Path, discarded: Counter[str]
    ) -> Callable[..., ReadableEvolvingSink]:
        """Makes a closed sink whose columns follow from the schema, as another process would."""

        def make(contract: Contract = "evolve") -> ReadableEvolvingSink:
            types = SchemaTypes(lambda: open_repositories([str(tmp_path / "suite-schemas")]))
            found = types.columns(TITLE, configured.spec.name)
            shape = TableShape("evolving", found.columns, ("title",), "title", "rev")
            sink = ConfiguredSink(configured.spec, configured.options, "", TITLE, contract)
            target = Target(sink, {}, configured.directory, types)
            return ReadableEvolvingSink(target, shape, lambda what, count: discarded.update({what: count}))

        return make

    def rows(self, sink: ReadableEvolvingSink, *columns: str) -> list[tuple[Any, ...]]:
        view = sink.view(100)
        return [tuple(row[view.columns.index(name)] for name in columns) for row in view.rows]

    async def give(self, sink: ReadableEvolvingSink, token: str, *deliveries: Delivery) -> None:
        """As a runner does: each event is checked, then all are written."""
        for delivery in deliveries:
            sink.check(delivery)
        await sink.write(list(deliveries), token)

    async def test_a_new_column_of_a_newer_version_is_added_when_its_first_event_comes(
        self, new: Callable[..., ReadableEvolvingSink], schemas: Callable[..., Path]
    ) -> None:
        sink = new()
        await sink.open()
        await self.give(sink, "1", page("a", 1, size=3))
        schemas("1.1.0", note={"type": "string"})
        await self.give(sink, "2", page("b", 1), page("c", 1, "1.1.0", note="new"), page("d", 1))
        assert self.rows(sink, "title", "size", "note") == [
            ("a", 3, None),
            ("b", None, None),
            ("c", None, "new"),
            ("d", None, None),
        ]
        await sink.close()
        again = new()
        assert await again.open() == ("2" if again.features.token_in_target else None)
        assert len(self.rows(again, "note")) == 4
        await again.close()

    async def test_a_column_that_is_no_longer_in_the_schema_stays(
        self, new: Callable[..., ReadableEvolvingSink], schemas: Callable[..., Path], configured: Configured
    ) -> None:
        sink = new()
        await sink.open()
        await self.give(sink, "1", page("a", 1, size=3))
        schemas("1.1.0", size=None)
        await self.give(sink, "2", page("b", 1, "1.1.0"))
        assert self.rows(sink, "title") == [("a",), ("b",)]
        present = configured.spec.describe
        assert present is not None
        there = present(configured.options, sink.shape, configured.directory)
        assert there is not None
        assert "size" in {name.lower() for name in there}
        await sink.close()

    async def test_a_column_becomes_wider_where_nothing_is_lost_or_the_sink_freezes(
        self, new: Callable[..., ReadableEvolvingSink], schemas: Callable[..., Path]
    ) -> None:
        sink = new()
        await sink.open()
        await self.give(sink, "1", page("a", 1, size=3))
        schemas("1.1.0", size={"type": "number"})
        events = [page("b", 1, "1.1.0", size=1.5), page("c", 1, size=2)]
        if not isinstance(sink._inner, Widens):
            with pytest.raises(SinkFrozen, match="size"):
                await self.give(sink, "2", *events)
            assert self.rows(sink, "title", "size") == [("a", 3)]
            await sink.close()
            return
        await self.give(sink, "2", *events)
        assert self.rows(sink, "title", "size") == [("a", 3), ("b", 1.5), ("c", 2)]
        await sink.close()

    async def test_a_column_with_values_that_a_wider_type_would_change_freezes_the_sink(
        self, new: Callable[..., ReadableEvolvingSink], schemas: Callable[..., Path]
    ) -> None:
        sink = new()
        await sink.open()
        if not isinstance(sink._inner, Widens):
            await sink.close()
            pytest.skip("this sink does not make columns wider")
        await self.give(sink, "1", page("a", 1, size=BEYOND_EXACT))
        file = schemas("1.1.0", size={"type": "number"})
        late = page("b", 1, "1.1.0", size=2)
        frozen: SinkFrozen | None = None
        try:
            await self.give(sink, "2", late)
        except SinkFrozen as error:
            frozen = error
        if frozen is not None:
            assert "size" in frozen.message
            file.unlink()
            await self.give(sink, "2", late)
        assert self.rows(sink, "title", "size") == [("a", BEYOND_EXACT), ("b", 2)]
        await sink.close()

    async def test_an_incompatible_change_freezes_the_sink_until_it_is_repaired(
        self, new: Callable[..., ReadableEvolvingSink], schemas: Callable[..., Path]
    ) -> None:
        sink = new()
        await sink.open()
        await self.give(sink, "1", page("a", 1, size=3))
        file = schemas("2.0.0", size={"type": "array", "items": {"type": "string"}})
        events = [page("b", 1), page("c", 1, "2.0.0", size=["x"])]
        for _ in range(2):
            with pytest.raises(SinkFrozen, match="size") as frozen:
                await self.give(sink, "2", *events)
            assert frozen.value.retriable
            assert frozen.value.hint
            assert self.rows(sink, "title") == [("a",)]
        started_again = new()
        with pytest.raises(SinkFrozen, match="size"):
            await started_again.open()
        await started_again.close()
        file.unlink()
        schemas("2.0.1", sizes={"type": "array", "items": {"type": "string"}})
        await self.give(sink, "2", page("b", 1), page("c", 1, "2.0.1", sizes=["x"]))
        assert self.rows(sink, "title", "size", "sizes") == [
            ("a", 3, None),
            ("b", None, None),
            ("c", None, '["x"]'),
        ]
        await sink.close()

    @pytest.mark.parametrize("kind", ["integer", "number", "boolean", "object", "array"])
    async def test_a_text_that_becomes_another_type_freezes_the_sink(
        self, new: Callable[..., ReadableEvolvingSink], schemas: Callable[..., Path], kind: str
    ) -> None:
        """Also where the target has one type for texts and for JSON: what is there must not change its meaning."""
        sink = new()
        schemas("1.1.0", note={"type": "string"})
        await sink.open()
        await self.give(sink, "1", page("a", 1, "1.1.0", note="as it is"))
        await sink.close()
        schemas("2.0.0", note={"type": kind})
        again = new()
        with pytest.raises(SinkFrozen, match="note"):
            await again.open()
        await again.close()

    async def test_a_column_of_json_is_found_as_it_was_made(
        self, new: Callable[..., ReadableEvolvingSink], schemas: Callable[..., Path]
    ) -> None:
        schemas("1.0.0", note={})
        values: list[Any] = [{"a": [1, "b"]}, "a text", 5, [], True]
        for number, value in enumerate(values):
            sink = new()
            await sink.open()
            await self.give(sink, f"token-{number}", page(str(number), 1, note=value))
            found = {int(title): json.loads(note) for title, note in self.rows(sink, "title", "note")}
            assert found == dict(enumerate(values[: number + 1]))
            await sink.close()

    async def test_the_contract_freeze_waits_until_somebody_has_agreed(
        self, new: Callable[..., ReadableEvolvingSink], schemas: Callable[..., Path]
    ) -> None:
        sink = new("freeze")
        await sink.open()
        await self.give(sink, "1", page("a", 1))
        schemas("1.1.0", note={"type": "string"})
        with pytest.raises(SinkFrozen, match="note"):
            await self.give(sink, "2", page("b", 1, "1.1.0", note="x"))
        agreed = new("evolve")
        await agreed.open()
        await agreed.close()
        await self.give(sink, "2", page("b", 1, "1.1.0", note="x"))
        assert self.rows(sink, "title", "note") == [("a", None), ("b", "x")]
        await sink.close()

    async def test_the_contract_discard_value_leaves_new_values_out_and_counts_them(
        self, new: Callable[..., ReadableEvolvingSink], schemas: Callable[..., Path], discarded: Counter[str]
    ) -> None:
        sink = new("discard_value")
        await sink.open()
        await self.give(sink, "1", page("a", 1, size=3))
        schemas("1.1.0", note={"type": "string"}, size={"type": "string"})
        await self.give(sink, "2", page("b", 1, "1.1.0", note="x", size="big"), page("c", 1, "1.1.0", size=4))
        assert self.rows(sink, "title", "size") == [("a", 3), ("b", None), ("c", 4)]
        assert "note" not in sink.shape.column_names
        assert discarded == {"values": 2}
        await sink.close()

    async def test_the_contract_discard_row_leaves_such_events_out_and_counts_them(
        self, new: Callable[..., ReadableEvolvingSink], schemas: Callable[..., Path], discarded: Counter[str]
    ) -> None:
        sink = new("discard_row")
        await sink.open()
        await self.give(sink, "1", page("a", 1, size=3))
        schemas("1.1.0", note={"type": "string"}, size={"type": "string"})
        await self.give(
            sink,
            "2",
            page("b", 1, "1.1.0", note="x"),
            page("c", 1, "1.1.0", size="big"),
            page("d", 1, "1.1.0", size=4),
            page("a", 2, size=5),
        )
        assert self.rows(sink, "title", "size") == [("a", 5), ("d", 4)]
        assert discarded == {"rows": 2}
        await sink.close()

    async def test_a_process_that_was_replaced_does_not_continue_by_changing_its_table(
        self, new: Callable[..., ReadableEvolvingSink], schemas: Callable[..., Path]
    ) -> None:
        stopped, successor = new(), new()
        await stopped.open()
        if not stopped.features.token_in_target:
            await stopped.close()
            pytest.skip("without a token in the target, the log fences the commits of a replaced process")
        await self.give(stopped, "1", page("a", 1))
        await successor.open()
        await self.give(successor, "2", page("a", 2))
        schemas("1.1.0", note={"type": "string"})
        with pytest.raises(WriterFenced):
            await self.give(stopped, "2, of other events", page("b", 1, "1.1.0", note="x"))
        await self.give(successor, "3", page("a", 3))
        assert self.rows(successor, "title", "rev") == [("a", 3)]
        await stopped.close()
        await successor.close()
