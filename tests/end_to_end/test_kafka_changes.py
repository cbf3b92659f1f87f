"""What others change on the brokers while a project runs, or while it is stopped: jobs and tables continue, and report
it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from end_to_end.edits import PASSED, RUNNING, SCHEMAS, write_files
from headwater.config import Config, load_config
from headwater.consumption.hub import Connection, StreamRequest
from headwater.errors import PositionLost
from headwater.log.contract import Position, TopicSettings
from headwater.log.token_marks import marks_in
from headwater.platform import Platform, build
from headwater.testing.eventually import eventually

FILES = {
    **SCHEMAS,
    "streams/edit.yaml": "stream: edit\nschema_title: edit\n",
    "streams/running.yaml": "stream: running\nschema_title: count\n",
    "streams/passed.yaml": "stream: passed\nschema_title: count\n",
    "jobs/jobs.py": "from headwater.jobs import job, table\n"
    + RUNNING
    + PASSED
    + 'rows = table("rows", source="edit", columns={"number": "integer"})\n',
}


@pytest.fixture
def config(tmp_path: Path, kafka_url: str) -> Config:
    project = tmp_path / "project"
    write_files(project, FILES)
    return load_config(project, environment={}, overrides={"log.url": kafka_url})


@pytest.fixture
async def platform(config: Config) -> AsyncIterator[Platform]:
    platform = build(config)
    await platform.start()
    yield platform
    await platform.stop()


async def send(platform: Platform, *numbers: int) -> None:
    events = [
        {"$schema": "/edit/1.0.0", "meta": {"stream": "edit", "id": f"e{n}"}, "wiki": f"w{n % 7}", "number": n}
        for n in numbers
    ]
    outcomes = await platform.intake.write(events)
    assert {type(outcome).__name__ for outcome in outcomes} == {"Accepted"}


async def processed(platform: Platform) -> dict[str, set[int]]:
    """The numbers of the edits that each job has come to."""
    found: dict[str, set[int]] = {"rows": {row[0] for view in await platform.read_tables(1000) for row in view.rows}}
    for topic in ("running", "passed"):
        position, found[topic] = await platform.log.first([topic]), set()
        while records := await platform.log.read(position):
            for record in records:
                found[topic].add(json.loads(record.value)["edit"])
                position = position.after(record)
    return found


async def until_all_have(platform: Platform, *numbers: int) -> None:
    async def met() -> bool:
        return all(set(numbers) <= found for found in (await processed(platform)).values())

    await eventually(met)


def make_again(config: Config, topic: str) -> None:
    from confluent_kafka.admin import AdminClient, NewTopic

    servers, _, namespace = config.log.url.removeprefix("kafka://").partition("/")
    admin = AdminClient({"bootstrap.servers": servers})
    for done in admin.delete_topics([namespace + topic]).values():
        done.result(timeout=10)
    deadline = time.monotonic() + 10
    while namespace + topic in admin.list_topics(timeout=5).topics:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    for done in admin.create_topics([NewTopic(namespace + topic, 1, 1)]).values():
        done.result(timeout=10)


def warnings_of(caplog: pytest.LogCaptureFixture, text: str) -> list[str]:
    said = [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]
    return [one for one in said if text in one]


async def test_jobs_and_tables_read_partitions_that_another_tool_has_added(platform: Platform, config: Config) -> None:
    from confluent_kafka.admin import AdminClient, NewPartitions

    await send(platform, *range(5))
    await until_all_have(platform, *range(5))
    servers, _, namespace = config.log.url.removeprefix("kafka://").partition("/")
    admin = AdminClient({"bootstrap.servers": servers})
    added = admin.create_partitions([NewPartitions(f"{namespace}edit", 4)])
    await asyncio.to_thread(added[f"{namespace}edit"].result, 10)

    async def seen() -> bool:
        return (await platform.log.partition_counts(["edit"]))["edit"] == 4

    await eventually(seen)
    await send(platform, *range(10, 50))
    for number in range(50, 60):
        await send(platform, number)
    ends = await platform.log.last(["edit"])
    assert len([end for end in ends.offsets.values() if end]) == 4
    await until_all_have(platform, *range(5), *range(10, 60))


async def test_jobs_and_tables_restart_with_a_topic_that_was_recreated_while_they_ran(
    platform: Platform, config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    await send(platform, *range(20))
    await until_all_have(platform, *range(20))
    await asyncio.to_thread(make_again, config, "edit")

    async def stored() -> bool:
        outcomes = await platform.intake.write(
            [{"$schema": "/edit/1.0.0", "meta": {"stream": "edit", "id": "e100"}, "wiki": "w", "number": 100}]
        )
        return type(outcomes[0]).__name__ == "Accepted"

    await eventually(stored)
    await send(platform, *range(101, 140))
    await until_all_have(platform, *range(20), *range(100, 140))
    for name in ("running", "passed", "rows"):
        assert len(warnings_of(caplog, f"job {name} ")) <= 3


async def test_no_event_is_skipped_of_a_topic_that_was_made_again_while_nothing_ran(
    config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    platform = build(config)
    await platform.start()
    await send(platform, *range(20))
    await until_all_have(platform, *range(20))
    await platform.stop()
    await asyncio.to_thread(make_again, config, "edit")
    platform = build(config)
    await platform.start(run_jobs=False)
    await send(platform, *range(100, 150))
    await platform.stop()
    caplog.clear()
    for _ in range(2):
        platform = build(config)
        await platform.start()
        try:
            await until_all_have(platform, *range(20), *range(100, 150))
        finally:
            await platform.stop()
    # Of the first time only: then the position is one of the new topic.
    assert len(warnings_of(caplog, "edit was recreated")) == 3


async def _token(connection: Connection) -> str:
    opening = (await connection.reader.next() or b"").decode()
    return next(line.removeprefix("id: ") for line in opening.splitlines() if line.startswith("id: "))


async def test_where_they_are_to_stop_jobs_and_clients_stand_before_a_topic_that_was_made_again(config: Config) -> None:
    stops = replace(
        config,
        jobs=replace(config.jobs, on_replaced_log="stop"),
        consumption=replace(config.consumption, on_replaced_log="stop"),
    )
    platform = build(config)
    await platform.start()
    await send(platform, *range(20))
    await until_all_have(platform, *range(20))
    wanted = StreamRequest(platform.hub.resolve(["edit"]), positions=True)
    connection = await platform.hub.connect(wanted)
    token = await _token(connection)
    assert marks_in(token).keys() == {"edit"}
    await platform.stop()
    await asyncio.to_thread(make_again, config, "edit")
    for one in (stops, config):
        platform = build(one)
        await platform.start()
        try:
            await send(platform, *range(100, 150))
            if one is stops:
                with pytest.raises(PositionLost, match="edit"):
                    await platform.hub.connect(replace(wanted, last_event_id=token))

                async def stood(platform: Platform = platform) -> bool:
                    reports = [job.report() for job in platform.runners.values()]
                    return all("The log was replaced" in (report.last_error or "") for report in reports)

                await eventually(stood)
                assert all(found == set(range(20)) for found in (await processed(platform)).values())
            else:
                connection = await platform.hub.connect(replace(wanted, last_event_id=token))
                told = await connection.reader.next()
                assert b"event: position-lost" in (told or b"")
                assert b"log_replaced" in (told or b"")
                await until_all_have(platform, *range(20), *range(100, 150))
        finally:
            await platform.stop()


async def test_ids_of_topics_differ_and_are_left_out_where_there_is_none(platform: Platform) -> None:
    await platform.log.ensure_topic("other", TopicSettings())
    ids = await platform.log.topic_ids(["edit", "other", "missing"])
    assert sorted(ids) == ["edit", "other"]
    assert len(set(ids.values())) == 2
    assert await platform.log.topic_ids(["edit"]) == {"edit": ids["edit"]}


async def test_a_request_for_ids_during_another_one_is_answered_too(platform: Platform) -> None:
    topics = [f"topic{number}" for number in range(5)]
    for topic in topics:
        await platform.log.ensure_topic(topic, TopicSettings())
    asking = []
    for topic in topics:
        asking.append(asyncio.ensure_future(platform.log.topic_ids([topic])))
        # The request for the topics before is on its way.
        for _ in range(3):
            await asyncio.sleep(0)
    assert [list(await ids) for ids in asking] == [[topic] for topic in topics]


async def test_what_others_write_without_a_value_is_no_event(platform: Platform, config: Config) -> None:
    from confluent_kafka import Producer

    servers, _, namespace = config.log.url.removeprefix("kafka://").partition("/")
    producer = Producer({"bootstrap.servers": servers})
    producer.produce(f"{namespace}edit", None, b"k")
    producer.flush(10)
    await send(platform, 1)
    await until_all_have(platform, 1)
    assert [one.report().errors for one in platform.runners.values()] == [0, 0, 0]
    errors: Any = await platform.log.read(Position({("running.error", 0): 0}))
    assert errors == []
