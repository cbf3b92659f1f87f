"""What a cluster would refuse is asked by `plan` and at the start, and named with what to change."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from end_to_end.edits import SCHEMAS, write_files
from end_to_end.test_kafka_limits import set_limit
from headwater.cli.plan import ask, load_declared
from headwater.config import load_config
from headwater.errors import ConfigInvalid
from headwater.platform import build


@pytest.fixture
def project(tmp_path: Path, kafka_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HEADWATER_LOG", kafka_url)
    write_files(tmp_path, {**SCHEMAS, "headwater.yaml": f"log: {kafka_url}\n"})
    return tmp_path


def declare(project: Path, **transport: object) -> None:
    lines = "".join(f"    {name}: {value}\n" for name, value in transport.items())
    (project / "streams").mkdir(exist_ok=True)
    (project / "streams/edit.yaml").write_text(
        f"stream: edit\nschema_title: edit\ntransport:\n  partitions: 1\n  kafka:\n{lines}"
    )


async def test_more_copies_than_brokers_are_impossible_in_the_plan_and_end_the_start(project: Path) -> None:
    declare(project, replicas=40)
    plan = await ask(load_declared(project))
    [refused] = [one for one in plan.impossible if one.topic == "edit"]
    assert "40 copies" in refused.sentence
    assert "streams/edit.yaml:1" in refused.sentence
    assert "transport.kafka.replicas" in refused.hint
    assert "edit" not in {change.topic for change in plan.changes}
    platform = build(load_config(project))
    with pytest.raises(ConfigInvalid, match="40 copies"):
        await platform.start()


async def test_replicas_are_made_as_declared_and_later_changes_are_reported(project: Path) -> None:
    from confluent_kafka.admin import AdminClient

    declare(project, replicas=1)
    config = load_config(project)
    platform = build(config)
    await platform.start()
    await platform.stop()
    servers, _, namespace = config.log.url.removeprefix("kafka://").partition("/")
    admin = AdminClient({"bootstrap.servers": servers})
    metadata = await asyncio.to_thread(admin.list_topics, f"{namespace}edit", timeout=10)
    assert [len(one.replicas) for one in metadata.topics[f"{namespace}edit"].partitions.values()] == [1]
    assert not [one for one in (await ask(load_declared(project))).impossible if one.topic == "edit"]
    declare(project, replicas=2)
    [refused] = [one for one in (await ask(load_declared(project))).impossible if one.topic == "edit"]
    assert "has 1 copies, and 2 are declared" in refused.sentence


@pytest.mark.parametrize(
    ("intake", "topic_limit", "told"),
    [("", None, False), ("intake: {event_bytes_max: 2000000}\n", None, True), ("", 2_000, True)],
    ids=["as by default", "more is set", "a small topic"],
)
async def test_the_start_says_where_a_topic_takes_less_than_the_intake(
    project: Path, caplog: pytest.LogCaptureFixture, intake: str, topic_limit: int | None, told: bool
) -> None:
    declare(project, partitions=1)
    with (project / "headwater.yaml").open("a") as file:
        file.write(intake)
    config = load_config(project)
    for _ in range(2):
        caplog.clear()
        platform = build(config)
        await platform.start()
        await platform.stop()
        if topic_limit is not None:
            await asyncio.to_thread(set_limit, config.log.url, "edit", topic_limit)
    said = [one.getMessage() for one in caplog.records if "less than intake.event_bytes_max" in one.getMessage()]
    assert len(said) == told


async def test_transactions_that_the_brokers_do_not_allow_are_named_at_the_start(
    kafka_server: str,
) -> None:
    from headwater.log.kafka.log import KafkaLog

    log = KafkaLog(f"kafka://{kafka_server}", delivery_seconds_max=800)
    with pytest.raises(ConfigInvalid, match=r"transaction\.max\.timeout\.ms") as caught:
        await log.open()
    assert caught.value.hint == "Set it to 450 or less."
    await log.close()
