"""The tasks of the comparison as dataflows of Bytewax; runs in an environment that has `bytewax[kafka]`."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
import bytewax.operators.windowing as win
import orjson
import work
from bytewax.connectors.kafka import KafkaSinkMessage, KafkaSource
from bytewax.connectors.kafka import operators as kop
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import run_main

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LOOP = asyncio.new_event_loop()


async def _looked_up(event: dict[str, Any]) -> dict[str, Any]:
    await asyncio.sleep(work.LOOKUP_SECONDS)
    return work.passed(event)


async def _all_looked_up(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return list(await asyncio.gather(*map(_looked_up, events)))


def _counted(state: int | None, event: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    count = (state or 0) + 1
    return count, work.counted(event, count)


def _added(total: list[int], event: dict[str, Any]) -> list[int]:
    return [total[0] + 1, total[1] + event["size"]]


def _window(found: tuple[str, tuple[int, list[int]]]) -> dict[str, Any]:
    key, (number, (count, total)) = found
    return work.window(key, number * work.WINDOW_MS, count, total)


def dataflow_of(run: work.Run) -> Dataflow:
    """The dataflow of the run's task."""
    flow = Dataflow("benchmark")
    streams = []
    for number, topic in enumerate(run.inputs):
        # Its batches bound how many lookups wait at a time.
        source = KafkaSource([run.brokers], [topic], tail=False, batch_size=work.CONCURRENCY)
        read = op.input(f"read{number}", flow, source)
        streams.append(op.map(f"decode{number}", read, lambda message: orjson.loads(message.value)))
    match run.task:
        case "stateless":
            made = op.map("pass", streams[0], work.passed)
        case "async":
            # It has no operator for async functions: a batch is looked up together.
            made = op.flat_map_batch(
                "look_up", streams[0], lambda events: LOOP.run_until_complete(_all_looked_up(events))
            )
        case "keyed":
            keyed = op.key_on("key", streams[0], lambda event: event["key"])
            made = op.key_rm("unkey", op.stateful_map("count", keyed, _counted))
        case "windowed":
            keyed = op.key_on("key", streams[0], lambda event: event["key"])
            clock = win.EventClock(
                lambda event: datetime.fromtimestamp(work.time_ms(event) / 1000, UTC),
                wait_for_system_duration=timedelta(0),
            )
            windower = win.TumblingWindower(length=timedelta(milliseconds=work.WINDOW_MS), align_to=EPOCH)
            windows = win.fold_window(
                "window", keyed, clock, windower, lambda: [0, 0], _added, lambda a, b: [a[0] + b[0], a[1] + b[1]]
            )
            made = op.map("result", windows.down, _window)
        case _:
            # Its join has no bound in time; each pair is complete with its second event, and then forgotten.
            sides = [op.key_on(f"key{n}", stream, lambda event: event["key"]) for n, stream in enumerate(streams)]
            pairs = op.key_rm("unkey", op.join("join", *sides, emit_mode="complete"))
            made = op.map("result", pairs, lambda pair: work.joined(*pair))
    messages = op.map("encode", made, lambda one: KafkaSinkMessage(one["key"].encode(), orjson.dumps(one)))
    kop.output("write", messages, brokers=[run.brokers], topic=run.output)
    return flow


def main() -> None:
    """Process all events, and end."""
    run = work.read_run()
    folder = Path(run.folder) / "recovery"
    folder.mkdir()
    init_db_dir(folder, 1)
    run_main(dataflow_of(run), epoch_interval=timedelta(seconds=10), recovery_config=RecoveryConfig(folder))


if __name__ == "__main__":
    main()
