"""The Iceberg sink keeps what the contract of a Sink promises, and its table what other engines expect of one."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow.fs import FileSelector, S3FileSystem
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.manifest import DataFile, DataFileContent
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.types import FloatType, IntegerType, ListType, NestedField, StringType, TimestamptzType

from headwater.connectors.contract import Column, Delivery, TableShape
from headwater.connectors.sinks.iceberg.commits import TOKEN, OneAttempt
from headwater.connectors.sinks.iceberg.merging import DELETED_BRANCH
from headwater.connectors.sinks.iceberg.options import IcebergOptions, open_catalog
from headwater.connectors.sinks.iceberg.sink import SPEC, IcebergSink
from headwater.declaration import Declaration
from headwater.errors import ConfigInvalid, SinkFrozen, SinkUnavailable
from headwater.testing.suites.sink import EDITS, LINES, SinkSuite, delivery, edits_of
from headwater.testing.suites.sink_deletes import NOTES, note, notes_of
from headwater.testing.suites.sink_delivery import PAGES, NewSink, page
from headwater.testing.suites.sink_evolution import Configured, EvolutionSuite
from servers.moto import KEY, MotoServer

VISITS = TableShape(
    "visits",
    (Column("id", "integer", "id"), Column("at", "timestamp", "at"), Column("text", "text", "text")),
    ("id",),
)


@pytest.fixture
def options() -> IcebergOptions:
    return IcebergOptions({"type": "sql", "uri": "sqlite:///catalog.db", "warehouse": "warehouse"})


@pytest.fixture
def new_sink(options: IcebergOptions, tmp_path: Path) -> Callable[..., IcebergSink]:
    """Makes a closed sink, with other options where they are given."""
    return lambda shape, **others: IcebergSink(dataclasses.replace(options, **others), shape, tmp_path)


@pytest.fixture
def catalog(options: IcebergOptions, tmp_path: Path) -> Iterator[Catalog]:
    """The catalog, as another engine sees it."""
    with closing(open_catalog(options, tmp_path)) as opened:
        yield opened


class TestIcebergSink(SinkSuite):
    implementations = (IcebergSink,)

    @pytest.fixture
    def new_sink(self, options: IcebergOptions, tmp_path: Path) -> NewSink:
        return lambda shape: IcebergSink(options, shape, tmp_path)


class TestIcebergEvolution(EvolutionSuite):
    implementations = (IcebergSink,)

    @pytest.fixture
    def configured(self, options: IcebergOptions, tmp_path: Path) -> Configured:
        return Configured(SPEC, options, tmp_path)


def loaded(catalog: Catalog, name: str) -> Table:
    return catalog.load_table(("headwater", name))


def on_disk(directory: Path, kind: str = "parquet") -> set[str]:
    """The files of a kind that are in the warehouse."""
    return {one.as_uri() for one in (directory / "warehouse").rglob(f"*.{kind}")}


def in_table(table: Table) -> set[str]:
    """The data files of all snapshots that the table has."""
    return {path for one in table.snapshots() for path in table.inspect.files(one.snapshot_id)["file_path"].to_pylist()}


def visit(number: int, at: str, **more: Any) -> Delivery:
    return Delivery({"id": number, "at": at, **more})


async def test_a_batch_of_rows_and_deletions_is_one_snapshot_with_the_token(
    new_sink: Callable[..., IcebergSink], catalog: Catalog
) -> None:
    sink = new_sink(NOTES)
    await sink.open()
    await sink.write([note(1, 1), note(2, 1), note(3, 1)], "token 1")
    before = len(loaded(catalog, "notes").history())
    await sink.write([note(1, 2), note(2, 2, "delete"), note(4, 1), note(9, 3, "delete")], "token 2")
    table = loaded(catalog, "notes")
    assert len(table.history()) == before + 1
    head = table.current_snapshot()
    assert head is not None
    assert head.summary is not None
    assert head.summary.additional_properties[TOKEN] == "token 2"
    assert [row[1:3] for row in notes_of(sink)] == [(4, 1), (1, 2), (3, 1)]
    # Readers do not see the versions of deleted keys.
    assert table.scan().count() == 3
    assert table.scan().use_ref(DELETED_BRANCH).count() == 2
    await sink.close()


async def test_columns_have_the_types_and_the_key_that_other_engines_expect(
    new_sink: Callable[..., IcebergSink], catalog: Catalog
) -> None:
    sink = new_sink(VISITS)
    await sink.open()
    await sink.write([visit(1, "2026-01-01T00:00:00.000001+01:00")], "token")
    await sink.close()
    table = loaded(catalog, "visits")
    assert isinstance(table.schema().find_type("at"), TimestamptzType)
    assert table.schema().identifier_field_names() == {"id"}
    (at,) = table.scan().to_arrow()["at"].cast(pyarrow.int64()).to_pylist()
    assert at == 1_767_222_000_000_001


async def test_commits_of_other_engines_do_not_fence_the_sink(
    new_sink: Callable[..., IcebergSink], catalog: Catalog
) -> None:
    sink = new_sink(LINES)
    await sink.open()
    await sink.write([Delivery({"number": 1})], "token 1")
    table = loaded(catalog, "lines")
    table.append(pyarrow.table({"number": pyarrow.array([7], pyarrow.int64())}))
    await sink.write([Delivery({"number": 2})], "token 2")
    assert sorted(row[0] for row in sink.view(10).rows) == [1, 2, 7]
    await sink.close()
    assert await sink.open() == "token 2"
    await sink.close()


async def test_a_commit_is_not_repeated_on_top_of_another_one(
    new_sink: Callable[..., IcebergSink], catalog: Catalog
) -> None:
    """PyIceberg's own transaction is, without a word: what a stopped process has prepared would be there twice."""
    sink = new_sink(LINES)
    await sink.open()
    await sink.close()
    rows = pyarrow.table({"number": pyarrow.array([1], pyarrow.int64())})
    stale = [loaded(catalog, "lines") for _ in range(3)]
    stale[0].append(rows)
    repeated = stale[1].transaction()
    repeated.append(rows)
    repeated.commit_transaction()
    assert loaded(catalog, "lines").scan().count() == 2
    ours = OneAttempt(stale[2])
    ours.append(rows)
    with pytest.raises(CommitFailedException):
        ours.commit_transaction()
    assert loaded(catalog, "lines").scan().count() == 2


@pytest.mark.parametrize("error", [ConnectionError("reset"), CommitFailedException("seen by a proxy as failed")])
@pytest.mark.parametrize("properties", [{}, {"commit.retry.num-retries": 0}])
async def test_a_batch_is_there_once_if_the_answer_to_its_commit_is_lost(
    new_sink: Callable[..., IcebergSink],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    properties: dict[str, Any],
) -> None:
    sink = new_sink(LINES, properties=properties)
    await sink.open()
    assert sink._table._catalog is not None
    commit_table = sink._table._catalog.commit_table

    def lost(*arguments: Any) -> None:
        monkeypatch.undo()
        commit_table(*arguments)
        raise error

    monkeypatch.setattr(sink._table._catalog, "commit_table", lost)
    for _ in range(2):
        try:
            await sink.write([Delivery({"number": 1})], "token 1")
        except SinkUnavailable:
            continue
    assert [row[0] for row in sink.view(10).rows] == [1]
    await sink.write([Delivery({"number": 2})], "token 2")
    assert sink.view(10).rows_total == 2
    await sink.close()


async def test_a_kill_between_data_files_and_commit_leaves_nothing_that_readers_see(
    new_sink: Callable[..., IcebergSink], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sink = new_sink(LINES)
    await sink.open()

    class Killed(BaseException):
        pass

    def killed(*arguments: Any) -> None:
        raise Killed

    monkeypatch.setattr(sink._table._catalog, "commit_table", killed)
    with pytest.raises(Killed):
        await sink.write([Delivery({"number": 1})], "token 1")
    assert on_disk(tmp_path)
    monkeypatch.undo()
    await sink.close()
    again = new_sink(LINES)
    assert await again.open() is None
    assert again.view(10).rows_total == 0
    await again.write([Delivery({"number": 1})], "token 1")
    assert again.view(10).rows_total == 1
    await again.close()


async def test_the_token_survives_that_another_engine_removes_older_snapshots(
    new_sink: Callable[..., IcebergSink], catalog: Catalog
) -> None:
    sink = new_sink(LINES)
    await sink.open()
    await sink.write([Delivery({"number": 1})], "token 1")
    table = loaded(catalog, "lines")
    table.append(pyarrow.table({"number": pyarrow.array([7], pyarrow.int64())}))
    head = table.current_snapshot()
    assert head is not None
    older = [one.snapshot_id for one in table.snapshots() if one.snapshot_id != head.snapshot_id]
    table.maintenance.expire_snapshots().by_ids(older).commit()
    await sink.write([Delivery({"number": 2})], "token 2")
    await sink.close()
    assert await sink.open() == "token 2"
    assert sink.view(10).rows_total == 3
    await sink.close()


async def test_a_rollback_to_before_all_commits_of_the_sink_is_seen(
    new_sink: Callable[..., IcebergSink], catalog: Catalog
) -> None:
    sink = new_sink(LINES)
    await sink.open()
    await sink.close()
    table = loaded(catalog, "lines")
    table.append(pyarrow.table({"number": pyarrow.array([7], pyarrow.int64())}))
    first = table.current_snapshot()
    assert first is not None
    assert await sink.open() is None
    await sink.write([Delivery({"number": 1})], "token 1")
    await sink.close()
    loaded(catalog, "lines").manage_snapshots().rollback_to_snapshot(first.snapshot_id).commit()
    assert await sink.open() is None
    assert sink.view(10).rows_total == 1
    await sink.close()


async def test_after_a_rollback_of_the_table_its_rows_are_written_again(
    new_sink: Callable[..., IcebergSink], catalog: Catalog
) -> None:
    sink = new_sink(LINES)
    await sink.open()
    await sink.write([Delivery({"number": 1})], "token 1")
    good = loaded(catalog, "lines").current_snapshot()
    assert good is not None
    await sink.write([Delivery({"number": 2})], "token 2")
    await sink.close()
    loaded(catalog, "lines").manage_snapshots().rollback_to_snapshot(good.snapshot_id).commit()
    assert await sink.open() == "token 1"
    await sink.write([Delivery({"number": 2})], "token 2")
    assert sorted(row[0] for row in sink.view(10).rows) == [1, 2]
    await sink.close()


@pytest.mark.parametrize("by", ["day", "hour"])
async def test_a_table_is_partitioned_by_a_time_and_rows_move_between_partitions(
    new_sink: Callable[..., IcebergSink], catalog: Catalog, by: str
) -> None:
    sink = new_sink(VISITS, partition_column="at", partition_by=by)
    await sink.open()
    times = ["1969-12-31T23:59:59.999999Z", "2026-01-01T00:00:00Z", "2026-01-01T23:00:00Z", "2026-01-02T00:00:00Z"]
    await sink.write([visit(number, at) for number, at in enumerate(times)], "token 1")
    await sink.write([Delivery({"id": 9})], "token 2")
    partitions = loaded(catalog, "visits").inspect.partitions()
    assert partitions.num_rows == (4 if by == "day" else 5)
    await sink.write([visit(0, times[1], text="moved"), visit(3, times[3], text="stays")], "token 3")
    rows = {row[0]: (row[1], row[2]) for row in sink.view(10).rows}
    assert rows[0] == ("2026-01-01T00:00:00.000000Z", "moved")
    assert rows[3] == ("2026-01-02T00:00:00.000000Z", "stays")
    assert len(rows) == 5
    found = loaded(catalog, "visits").scan("at >= '2026-01-02T00:00:00+00:00'").to_arrow()
    assert found["id"].to_pylist() == [3]
    await sink.close()


async def test_many_keys_at_once_replace_their_rows(new_sink: Callable[..., IcebergSink]) -> None:
    sink = new_sink(PAGES)
    await sink.open()
    titles = [f"{number:04}" for number in range(500)]
    for rev in (1, 3, 2):
        await sink.write([Delivery(page(title, rev)) for title in titles[rev:]], f"token {rev}")
    revisions = {row[0]: row[1] for row in sink.view(1000).rows}
    assert revisions == {"0001": 1, "0002": 2} | dict.fromkeys(titles[3:], 3)
    await sink.close()


async def test_small_files_are_merged_and_what_nothing_refers_to_is_deleted(
    new_sink: Callable[..., IcebergSink], catalog: Catalog, tmp_path: Path
) -> None:
    sink = new_sink(LINES, maintenance_seconds=0.0, small_files_max=4, snapshots_seconds=0.0)
    await sink.open()
    for number in range(9):
        await sink.write([Delivery({"number": number})], f"token {number}")
    table = loaded(catalog, "lines")
    assert len(table.inspect.files()) <= 4
    assert len(table.snapshots()) <= 2
    assert on_disk(tmp_path) == in_table(table)
    lists = {one.manifest_list for one in table.snapshots()}
    manifests = {manifest.manifest_path for one in table.snapshots() for manifest in one.manifests(table.io)}
    assert on_disk(tmp_path, "avro") == lists | manifests
    assert sorted(row[0] for row in sink.view(100).rows) == list(range(9))
    await sink.close()
    assert await sink.open() == "token 8"
    await sink.close()


async def test_small_files_in_s3_are_merged_and_deleted(moto: MotoServer, tmp_path: Path) -> None:
    bucket = moto.new_bucket(f"test-{uuid.uuid4().hex}")
    options = IcebergOptions(
        {
            "type": "sql",
            "uri": "sqlite:///catalog.db",
            "warehouse": f"s3://{bucket}/lake",
            "s3.endpoint": moto.endpoint,
            "s3.region": "us-east-1",
            "s3.access-key-id": KEY,
        },
        {"s3.secret-access-key": KEY},
        maintenance_seconds=0.0,
        small_files_max=3,
        snapshots_seconds=0.0,
    )
    sink = IcebergSink(options, LINES, tmp_path)
    await sink.open()
    for number in range(4):
        await sink.write([Delivery({"number": number})], f"token {number}")
    assert sorted(row[0] for row in sink.view(100).rows) == list(range(4))
    await sink.close()
    with closing(open_catalog(options, tmp_path)) as catalog:
        files = in_table(loaded(catalog, "lines"))
    store = S3FileSystem(access_key=KEY, secret_key=KEY, endpoint_override=moto.endpoint, region="us-east-1")
    there = store.get_file_info(FileSelector(f"{bucket}/lake", recursive=True))
    assert {f"s3://{one.path}" for one in there if one.path.endswith(".parquet")} == files
    assert len(files) <= 3


async def test_maintenance_keeps_rows_and_deleted_versions_of_a_table_with_a_key(
    new_sink: Callable[..., IcebergSink], catalog: Catalog, tmp_path: Path
) -> None:
    sink = new_sink(NOTES, maintenance_seconds=0.0, small_files_max=2, snapshots_seconds=0.0)
    await sink.open()
    for number in range(12):
        await sink.write(
            [note(number, 1), note(number - 1, 2, "delete") if number % 3 else note(0, number)], f"{number}"
        )
    await sink.write([note(number, 1) for number in range(12)], "older")
    # Of each three the first two are deleted, but for the page that is written again.
    assert sorted(row[1] for row in notes_of(sink)) == [0, 2, 5, 8, 11]
    assert on_disk(tmp_path) == in_table(loaded(catalog, "notes"))
    await sink.close()


async def test_snapshots_of_tags_and_snapshots_that_are_young_are_kept_with_their_files(
    new_sink: Callable[..., IcebergSink], catalog: Catalog, tmp_path: Path
) -> None:
    young = new_sink(PAGES, maintenance_seconds=0.0, small_files_max=0)
    await young.open()
    for rev in range(3):
        await young.write([Delivery(page("a", rev))], f"token {rev}")
    await young.close()
    table = loaded(catalog, "pages")
    assert len(table.snapshots()) == 3
    table.manage_snapshots().create_tag(table.history()[1].snapshot_id, "kept").commit()
    sink = new_sink(PAGES, maintenance_seconds=0.0, small_files_max=0, snapshots_seconds=0.0)
    await sink.open()
    for rev in range(3, 6):
        await sink.write([Delivery(page("a", rev))], f"token {rev}")
    table = loaded(catalog, "pages")
    assert table.scan().use_ref("kept").to_arrow()["rev"].to_pylist() == [1]
    assert table.scan().to_arrow()["rev"].to_pylist() == [5]
    assert on_disk(tmp_path) == in_table(table)
    await sink.close()


async def test_maintenance_leaves_the_files_of_a_table_that_was_set_aside(
    new_sink: Callable[..., IcebergSink], catalog: Catalog
) -> None:
    sink = new_sink(EDITS, maintenance_seconds=0.0, small_files_max=2, snapshots_seconds=0.0)
    await sink.open()
    await sink.write([delivery("a", 1)], "token 1")
    kept = await sink.set_aside()
    assert kept is not None
    for number in range(4):
        await sink.write([delivery("b", number)], f"token {number}")
    assert edits_of(sink) == {"b": 3}
    assert loaded(catalog, kept).scan().to_arrow()["wiki"].to_pylist() == ["a"]
    await sink.close()


async def test_a_column_that_the_table_does_not_have_now_is_shown_as_empty(
    new_sink: Callable[..., IcebergSink], catalog: Catalog
) -> None:
    sink = new_sink(dataclasses.replace(VISITS, columns=(*VISITS.columns, Column("note", "text", "note"))))
    await sink.open()
    await sink.write([visit(1, "2026-01-01T00:00:00Z", note="new")], "token")
    (before,) = sink.view(10).rows
    # As when a page looks at the table while it is widened.
    with loaded(catalog, "visits").update_schema() as update:
        update.delete_column("note")
    assert sink.view(10).rows == [(*before[:-1], None)]
    await sink.close()


async def test_narrow_columns_of_another_engine_are_made_wider(
    new_sink: Callable[..., IcebergSink], catalog: Catalog
) -> None:
    fields = (
        NestedField(1, "wiki", StringType(), required=False),
        NestedField(2, "start", StringType(), required=False),
        NestedField(3, "edits", IntegerType(), required=False),
        NestedField(4, "ratio", FloatType(), required=False),
    )
    catalog.create_namespace("headwater")
    table = catalog.create_table(("headwater", "edits"), Schema(*fields))
    old = pyarrow.schema([("wiki", "string"), ("start", "string"), ("edits", "int32"), ("ratio", "float32")])
    row = {"wiki": "old", "start": "2026-01-01", "edits": 1, "ratio": 0.5}
    table.append(pyarrow.Table.from_pylist([row], schema=old))
    sink = new_sink(EDITS)
    await sink.open()
    await sink.write([delivery("new", 2**40, ratio=0.1, tags=[1])], "token")
    assert edits_of(sink) == {"old": 1, "new": 2**40}
    await sink.write([delivery("old", 2)], "token 2")
    assert edits_of(sink) == {"old": 2, "new": 2**40}
    await sink.close()


async def test_a_column_that_no_event_can_fill_freezes_the_sink(
    new_sink: Callable[..., IcebergSink], catalog: Catalog
) -> None:
    tags = ListType(element_id=9, element_type=StringType(), element_required=False)
    catalog.create_namespace("headwater")
    catalog.create_table(("headwater", "edits"), Schema(NestedField(1, "tags", tags, required=False)))
    with pytest.raises(SinkFrozen, match="tags"):
        await new_sink(EDITS).open()


async def test_a_catalog_that_is_away_is_unavailable(tmp_path: Path) -> None:
    options = IcebergOptions({"type": "rest", "uri": "http://127.0.0.1:9"})
    with pytest.raises(SinkUnavailable, match="pages"):
        await IcebergSink(options, PAGES, tmp_path).open()


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"catalog": {"type": "rest", "token": "abc"}}, "catalog_secrets"),
        ({"catalog": {"type": "rest", "s3.secret-access-key": "abc"}}, "catalog_secrets"),
        ({"catalog": {"type": "sql", "uri": "postgresql+psycopg2://me:abc@db/x"}}, "password"),
        ({"catalog": {"type": "rest", "auth": {"type": "basic", "basic": {"password": "abc"}}}}, "catalog_secrets"),
        ({"catalog": {"type": "sql", "uri": "postgresql://db/x?password=abc"}}, "password"),
        ({"catalog": {"type": "rest"}, "catalog_secrets": {"token": "abc"}}, "reference"),
        ({"catalog": {"type": "rest"}, "namespace": "a..b"}, "namespace"),
        ({"namespace": "a"}, "catalog"),
    ],
)
def test_options_that_cannot_be_are_refused(written: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigInvalid) as refused:
        SPEC.read(written, Declaration("test", {}), ())
    text = f"{refused.value.message} {refused.value.hint}"
    assert said in text
    assert "abc" not in text


def test_a_secret_is_not_in_the_error_about_a_catalog(tmp_path: Path) -> None:
    options = IcebergOptions({"type": "rest"}, {"uri": "nosuch://me:abc@db/x", "auth.basic.password": "abc"})
    with pytest.raises(ConfigInvalid) as refused:
        open_catalog(dataclasses.replace(options, catalog={}), tmp_path)
    assert "nosuch" not in f"{refused.value.message} {refused.value.hint}"
    with pytest.raises(ConfigInvalid, match="auth") as refused:
        open_catalog(options, tmp_path)
    assert "abc" not in f"{refused.value.message} {refused.value.hint}"


async def test_a_table_of_a_newer_format_is_left_alone(
    new_sink: Callable[..., IcebergSink], catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = new_sink(LINES)
    await sink.open()
    await sink.close()
    monkeypatch.setattr(Table, "format_version", 3)
    with pytest.raises(SinkFrozen, match="version 3"):
        await sink.open()
    await sink.close()


async def test_a_table_with_deletions_that_cannot_be_read_freezes_the_sink_and_loses_no_event(
    new_sink: Callable[..., IcebergSink], catalog: Catalog
) -> None:
    """Flink writes such files. An error that is not retriable would make each event an error event."""
    sink = new_sink(PAGES)
    await sink.open()
    await sink.write([Delivery(page("a", 1))], "token 1")
    table = loaded(catalog, "pages")
    (task,) = table.scan().plan_files()
    of = task.file
    deletes = DataFile.from_args(
        content=DataFileContent.EQUALITY_DELETES,
        file_path=of.file_path.replace(".parquet", "-deletes.parquet"),
        file_format=of.file_format,
        partition=of.partition,
        record_count=1,
        file_size_in_bytes=of.file_size_in_bytes,
        equality_ids=[1],
    )
    deletes.spec_id = of.spec_id
    with table.transaction() as transaction, transaction.update_snapshot().fast_append() as append:
        append.append_data_file(deletes)
    with pytest.raises(SinkFrozen, match="equality deletes"):
        await sink.write([Delivery(page("a", 2))], "token 2")
    await sink.close()


def test_a_table_is_partitioned_by_a_timestamp_only(options: IcebergOptions, tmp_path: Path) -> None:
    for column in ("text", "absent"):
        with pytest.raises(ConfigInvalid, match="partition"):
            IcebergSink(dataclasses.replace(options, partition_column=column), VISITS, tmp_path)
