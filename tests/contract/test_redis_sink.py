"""The Redis sink keeps what the contract of a Sink promises, on a real Redis."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest
import redis

from headwater.connectors.contract import Column, Delivery, TableShape
from headwater.connectors.registry import sink_spec
from headwater.connectors.sinks.redis.sink import RedisOptions, RedisSink
from headwater.declaration import Declaration
from headwater.errors import ConfigInvalid, SinkUnavailable, WriteIncomplete, WriterFenced
from headwater.testing.eventually import eventually
from headwater.testing.suites.sink import EDITS, SinkSuite, delivery, edits_of
from headwater.testing.suites.sink_delivery import PAGES, NewSink, Refuse, page
from servers.redis import RedisServer

SHORT_SECONDS = 0.5


@pytest.fixture
def database(redis_server: RedisServer) -> Iterator[redis.Redis]:
    """The client of an empty database."""
    with redis.Redis.from_url(redis_server.url, decode_responses=True) as client:
        client.flushall()
        yield client


@pytest.fixture
def new_sink(redis_server: RedisServer, database: redis.Redis) -> NewSink:
    return lambda shape: RedisSink(RedisOptions(redis_server.url), shape)


class TestRedisSink(SinkSuite):
    implementations = (RedisSink,)

    @pytest.fixture
    def new_sink(self, redis_server: RedisServer, database: redis.Redis) -> NewSink:
        return lambda shape: RedisSink(RedisOptions(redis_server.url), shape)

    @pytest.fixture
    async def refuse(self, database: redis.Redis) -> Refuse:
        async def refuse(shape: TableShape, title: str) -> None:
            database.rpush(f"{shape.name}:{title}", "of another program")

        return refuse


async def test_a_row_is_a_hash_named_for_the_table_and_the_key(new_sink: NewSink, database: redis.Redis) -> None:
    sink = new_sink(EDITS)
    await sink.open()
    await sink.write([delivery("a:b%", 3, ratio=1e22, bot=False, tags={"x": [1]})], "token")
    await sink.close()
    assert database.hgetall("edits:a%3Ab%25:2026-01-01") == {
        "wiki": "a:b%",
        "start": "2026-01-01",
        "edits": "3",
        "ratio": "1e+22",
        "bot": "false",
        "tags": '{"x":[1]}',
    }


async def test_a_value_that_is_absent_from_the_newer_row_is_gone(new_sink: NewSink, database: redis.Redis) -> None:
    sink = new_sink(PAGES)
    await sink.open()
    await sink.write([Delivery(page("a", 1, text="old"))], "token 1")
    await sink.write([Delivery(page("a", 2))], "token 2")
    await sink.close()
    assert "text" not in database.hgetall("pages:a")


async def test_rows_expire_where_that_is_wanted(redis_server: RedisServer, database: redis.Redis) -> None:
    sink = RedisSink(RedisOptions(redis_server.url, row_seconds=3600), PAGES)
    await sink.open()
    await sink.write([Delivery(page("a", 1))], "token")
    await sink.close()
    assert 3500 < database.ttl("pages:a") <= 3600
    assert database.ttl("_headwater:position:pages") == -1


async def test_whole_numbers_of_any_size_are_compared_exactly(new_sink: NewSink) -> None:
    sink = new_sink(PAGES)
    await sink.open()
    versions = [2**53, 2**53 + 1, 2**53 - 1, -(2**62), 2**63 - 1, 2**63 - 2, 0]
    for number, rev in enumerate(versions):
        await sink.write([Delivery(page("a", rev))], f"token {number}")
        assert [row[1] for row in sink.view(1).rows] == [max(versions[: number + 1])]
    await sink.close()


async def test_redis_that_is_away_is_waited_for_and_its_scripts_are_sent_again(
    redis_server: RedisServer, new_sink: NewSink
) -> None:
    sink = new_sink(EDITS)
    await sink.open()
    await sink.write([delivery("a", 1)], "token 1")
    redis_server.stop()
    try:
        with pytest.raises(SinkUnavailable, match="edits"):
            await sink.write([delivery("b", 1)], "token 2")
        with pytest.raises(SinkUnavailable):
            await new_sink(EDITS).open()
    finally:
        redis_server.restart()
    await sink.write([delivery("b", 1)], "token 2")
    assert edits_of(sink) == {"a": 1, "b": 1}
    await sink.close()


async def test_redis_that_does_not_answer_in_time_is_left_and_nothing_is_written_twice(
    redis_server: RedisServer, database: redis.Redis
) -> None:
    sink = RedisSink(RedisOptions(redis_server.url, timeout_seconds=SHORT_SECONDS), TableShape("n", EDITS.columns))
    await sink.open()
    redis_server.pause()
    try:
        with pytest.raises(SinkUnavailable):
            await sink.write([delivery("a", 1)], "token 1")
    finally:
        redis_server.resume()
    # What was sent before may arrive later.
    await eventually(database.ping)
    await sink.write([delivery("a", 1)], "token 1")
    assert sink.view(10).rows_total == 1
    await sink.close()


async def test_a_full_redis_takes_nothing_of_a_batch_and_asks_for_a_pause(
    new_sink: NewSink, database: redis.Redis
) -> None:
    sink = new_sink(PAGES)
    await sink.open()
    database.config_set("maxmemory", 1)
    try:
        with pytest.raises(SinkUnavailable, match="maxmemory") as full:
            await sink.write([Delivery(page("a", 1)), Delivery(page("b", 1))], "token")
        assert full.value.back_off_seconds > 0
        assert not isinstance(full.value, WriteIncomplete)
        assert sink.view(10).rows_total == 0
    finally:
        database.config_set("maxmemory", 0)
    await sink.write([Delivery(page("a", 1)), Delivery(page("b", 1))], "token")
    assert sink.view(10).rows_total == 2
    await sink.close()


async def test_a_redis_that_has_lost_its_data_is_filled_again(new_sink: NewSink, database: redis.Redis) -> None:
    sink = new_sink(PAGES)
    await sink.open()
    await sink.write([Delivery(page("a", 1))], "token 1")
    database.flushall()
    with pytest.raises(WriterFenced, match="lost"):
        await sink.write([Delivery(page("b", 1))], "token 2")
    assert await sink.open() is None
    await sink.write([Delivery(page("a", 1)), Delivery(page("b", 1))], "token 2")
    assert sink.view(10).rows_total == 2
    await sink.close()


async def test_a_key_of_another_program_is_left_alone_and_named(new_sink: NewSink, database: redis.Redis) -> None:
    database.set("pages:b", "theirs")
    sink = new_sink(PAGES)
    await sink.open()
    with pytest.raises(WriteIncomplete, match=r"pages:b.*string") as incomplete:
        await sink.write([Delivery(page(title, 1)) for title in "abc"], "token")
    assert list(incomplete.value.rejected) == [1]
    assert database.keys("pages:*") == ["pages:b"]
    await sink.close()


def test_a_password_is_no_part_of_the_address_and_is_never_shown() -> None:
    spec = sink_spec("redis")
    written = {"url": "redis://user:secret@localhost/0"}
    with pytest.raises(ConfigInvalid, match=r"x\.yaml.*password") as refused:
        spec.read(written, Declaration("x.yaml", written, {}), ())
    assert "secret" not in str(refused.value)
    with pytest.raises(ConfigInvalid, match="reference"):
        spec.read({"url": "redis://localhost", "password": "secret"}, Declaration("x.yaml", written, {}), ())
    assert "secret" not in repr(RedisOptions("redis://localhost", password="secret"))


async def test_the_password_is_used(redis_server: RedisServer, database: redis.Redis) -> None:
    database.config_set("requirepass", "correct horse")
    try:
        options = RedisOptions(redis_server.url, password="wrong")
        with pytest.raises(SinkUnavailable) as refused:
            await RedisSink(options, PAGES).open()
        assert "wrong" not in str(refused.value).replace("WRONGPASS", "")
        sink = RedisSink(dataclasses.replace(options, password="correct horse"), PAGES)
        await sink.open()
        await sink.write([Delivery(page("a", 1))], "token")
        assert sink.view(10).rows_total == 1
        await sink.close()
    finally:
        database.config_set("requirepass", "")


async def test_wide_rows_fit(new_sink: NewSink) -> None:
    columns = tuple(Column(f"c{number}", "integer", f"c{number}") for number in range(2500))
    sink = new_sink(TableShape("wide", columns, ("c0",)))
    await sink.open()
    await sink.write([Delivery({f"c{number}": number for number in range(2500)})], "token")
    assert sink.view(1).rows == [tuple(range(2500))]
    await sink.close()
