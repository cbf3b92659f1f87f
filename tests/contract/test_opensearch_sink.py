"""The OpenSearch sink keeps what the contract of a Sink promises, on a real OpenSearch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headwater.connectors.contract import Column, Delivery, TableShape
from headwater.connectors.sinks.opensearch import SPEC, OpensearchOptions, OpensearchSink
from headwater.errors import EventMalformed, SinkUnavailable, WriteIncomplete
from headwater.testing.suites.sink import EDITS, SinkSuite, delivery, edits_of
from headwater.testing.suites.sink_delivery import PAGES, NewSink, page
from headwater.testing.suites.sink_evolution import Configured, EvolutionSuite
from servers.fixtures import OPTIONAL_SEARCH_SERVERS, ServerSession
from servers.opensearch import OpensearchServer

SHORT_SECONDS = 0.5


@pytest.fixture
def empty(search_server: OpensearchServer) -> Iterator[OpensearchServer]:
    """The server, without the indices of other tests."""
    yield search_server
    for index in search_server.ask("GET", "/_cat/indices?format=json"):
        search_server.ask("DELETE", f"/{index['index']}")


@pytest.fixture
def new_sink(empty: OpensearchServer) -> NewSink:
    return lambda shape: OpensearchSink(OpensearchOptions(empty.url), shape)


class TestOpensearchSink(SinkSuite):
    implementations = (OpensearchSink,)

    @pytest.fixture
    def new_sink(self, empty: OpensearchServer) -> NewSink:
        return lambda shape: OpensearchSink(OpensearchOptions(empty.url), shape)


class TestOpensearchEvolution(EvolutionSuite):
    implementations = (OpensearchSink,)

    @pytest.fixture
    def configured(self, empty: OpensearchServer) -> Configured:
        return Configured(SPEC, OpensearchOptions(empty.url), Path())


@pytest.mark.parametrize("name", OPTIONAL_SEARCH_SERVERS)
def test_the_suite_is_run_on_an_optional_server_that_is_named(name: str, server_session: ServerSession) -> None:
    assert server_session.available(name, requirement=name).missing() is None


def documents(server: OpensearchServer, index: str) -> dict[str, Any]:
    """Id → source of all documents."""
    server.ask("POST", f"/{index}/_refresh")
    hits = server.ask("GET", f"/{index}/_search?size=1000&version=true")["hits"]["hits"]
    return {hit["_id"]: hit["_source"] for hit in hits}


async def test_a_row_is_a_document_with_its_key_as_id(empty: OpensearchServer, new_sink: NewSink) -> None:
    sink = new_sink(EDITS)
    await sink.open()
    await sink.write([delivery("a:b", 2**62, ratio=0.5, bot=True, tags={"x": [1, {"y": None}]})], "token")
    await sink.close()
    assert documents(empty, "edits") == {
        "a%3Ab:2026-01-01": {
            "wiki": "a:b",
            "start": "2026-01-01",
            "edits": 2**62,
            "ratio": 0.5,
            "bot": True,
            "tags": {"x": [1, {"y": None}]},
        }
    }


async def test_long_and_empty_keys_have_documents_of_their_own(empty: OpensearchServer, new_sink: NewSink) -> None:
    sink = new_sink(PAGES)
    await sink.open()
    titles = ["", "x" * 600, "x" * 601, "ž" * 300]
    for token in ("token 1", "token 2"):
        await sink.write([Delivery(page(title, 1)) for title in titles], token)
    await sink.close()
    found = documents(empty, "pages")
    assert sorted(source["title"] for source in found.values()) == sorted(titles)
    assert all(len(one.encode()) <= 512 for one in found)


async def test_the_version_is_that_of_the_document(empty: OpensearchServer, new_sink: NewSink) -> None:
    sink = new_sink(PAGES)
    await sink.open()
    await sink.write([Delivery(page("a", 7))], "token")
    assert empty.ask("GET", "/pages/_doc/a")["_version"] == 7
    with pytest.raises(EventMalformed, match="rev is negative"):
        sink.check(Delivery(page("a", -1)))
    await sink.close()


async def test_a_batch_is_sent_in_requests_of_limited_size(empty: OpensearchServer) -> None:
    sink = OpensearchSink(OpensearchOptions(empty.url, bulk_bytes_max=100_000), PAGES)
    await sink.open()
    pages = [Delivery(page(str(number), 1, text="x" * 30_000)) for number in range(10)]
    await sink.write([*pages, Delivery(page("large", 1, text="x" * 300_000))], "token")
    assert sink.view(100).rows_total == 11
    await sink.close()


async def test_a_mapping_that_does_not_fit_rejects_that_event_with_the_reason(
    empty: OpensearchServer, new_sink: NewSink
) -> None:
    empty.ask("PUT", "/pages", {"mappings": {"properties": {"text": {"type": "date"}}}})
    sink = new_sink(PAGES)
    await sink.open()
    texts = {"a": "2026-01-01T00:00:00Z", "b": "yesterday", "c": None}
    with pytest.raises(WriteIncomplete) as refused:
        await sink.write([Delivery(page(title, 1, text=text)) for title, text in texts.items()], "token")
    assert list(refused.value.rejected) == [1]
    assert refused.value.retry == ()
    assert "text" in str(refused.value.rejected[1])
    assert "yesterday" in str(refused.value.rejected[1])
    assert sorted(documents(empty, "pages")) == ["a", "c"]
    await sink.close()


async def test_an_older_event_of_a_key_takes_the_place_of_a_rejected_one(
    empty: OpensearchServer, new_sink: NewSink
) -> None:
    empty.ask("PUT", "/pages", {"mappings": {"properties": {"text": {"type": "long"}}}})
    sink = new_sink(PAGES)
    await sink.open()
    batch = [Delivery(page("a", 1, text="1")), Delivery(page("a", 2, text="two")), Delivery(page("b", 1, text="3"))]
    with pytest.raises(WriteIncomplete) as refused:
        await sink.write(batch, "token")
    assert (list(refused.value.rejected), refused.value.retry) == ([1], (0,))
    await sink.write([batch[index] for index in refused.value.retry], "token")
    assert {name: source["rev"] for name, source in documents(empty, "pages").items()} == {"a": 1, "b": 1}
    await sink.close()


async def test_what_there_is_no_room_for_is_written_again_and_only_that(
    empty: OpensearchServer, new_sink: NewSink
) -> None:
    sink = new_sink(PAGES)
    await sink.open()
    await sink.write([Delivery(page("a", 1))], "token 1")
    # The store of the index is full: OpenSearch answers 429 for each operation.
    empty.ask("PUT", "/pages/_settings", {"index.blocks.read_only_allow_delete": True})
    with pytest.raises(WriteIncomplete) as full:
        await sink.write([Delivery(page(title, 2)) for title in "ab"], "token 2")
    assert (full.value.rejected, full.value.retry) == ({}, (0, 1))
    assert full.value.back_off_seconds > 0
    empty.ask("PUT", "/pages/_settings", {"index.blocks.read_only_allow_delete": None})
    await sink.write([Delivery(page(title, 2)) for title in "ab"], "token 2")
    assert {name: source["rev"] for name, source in documents(empty, "pages").items()} == {"a": 2, "b": 2}
    await sink.close()


async def test_fields_of_other_types_can_be_wanted(empty: OpensearchServer) -> None:
    shape = TableShape("other", (Column("id", "text", "id"), Column("tags", "json", "tags")), ("id",))
    options = OpensearchOptions(
        empty.url,
        index="other",
        fields={"tags": {"type": "keyword"}, "id": {"type": "keyword"}},
        settings={"number_of_replicas": 0},
        deleted_seconds=120,
    )
    sink = OpensearchSink(options, shape)
    await sink.open()
    await sink.write([Delivery({"id": "a", "tags": ["x/y", "z"]})], "token")
    assert sink.view(1).rows == [("a", '["x/y","z"]')]
    found = empty.ask("GET", "/other/_search", {"query": {"term": {"tags": "x/y"}}})
    assert found["hits"]["total"]["value"] == 1
    settings = empty.ask("GET", "/other/_settings")["other"]["settings"]["index"]
    assert (settings["number_of_replicas"], settings["gc_deletes"]) == ("0", "120s")
    await sink.close()


async def test_opensearch_that_is_away_is_waited_for(empty: OpensearchServer, new_sink: NewSink) -> None:
    sink = new_sink(EDITS)
    await sink.open()
    await sink.write([delivery("a", 1)], "token 1")
    empty.stop()
    try:
        with pytest.raises(SinkUnavailable, match="edits"):
            await sink.write([delivery("b", 1)], "token 2")
        with pytest.raises(SinkUnavailable):
            await new_sink(EDITS).open()
    finally:
        empty.restart()
    await sink.write([delivery("b", 1)], "token 2")
    assert edits_of(sink) == {"a": 1, "b": 1}
    await sink.close()


async def test_opensearch_that_does_not_answer_in_time_is_left(empty: OpensearchServer) -> None:
    sink = OpensearchSink(OpensearchOptions(empty.url, timeout_seconds=SHORT_SECONDS), PAGES)
    while True:
        try:
            await sink.open()
            break
        except SinkUnavailable:
            continue
    empty.pause()
    try:
        with pytest.raises(SinkUnavailable):
            await sink.write([Delivery(page("a", 1))], "token")
    finally:
        empty.resume()
    await sink.close()
