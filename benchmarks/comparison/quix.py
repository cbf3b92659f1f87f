"""The tasks of the comparison as applications of Quix Streams; runs in an environment that has `quixstreams`."""

from __future__ import annotations

import time
from typing import Any

import work
from quixstreams import Application, State
from quixstreams.dataframe.windows import Count, Sum

# How long it may find no event before it ends, where it does not count to the end.
IDLE_SECONDS = 8


def _time_of(value: Any, headers: Any, timestamp: float, timestamp_type: Any) -> int:
    return work.time_ms(value)


def _counted(event: dict[str, Any], state: State) -> dict[str, Any]:
    count = state.get("count", 0) + 1
    state.set("count", count)
    return work.counted(event, count)


def _looked_up(event: dict[str, Any]) -> dict[str, Any]:
    # It has no operator for async functions: one waits after the other.
    time.sleep(work.LOOKUP_SECONDS)
    return work.passed(event)


def main() -> None:
    """Process all events, commit, and end."""
    run = work.read_run()
    app = Application(
        broker_address=run.brokers,
        consumer_group=run.output,
        auto_offset_reset="earliest",
        processing_guarantee="exactly-once",
        state_dir=run.folder,
        loglevel="WARNING",
    )
    sources = [app.topic(name, value_deserializer="json", timestamp_extractor=_time_of) for name in run.inputs]
    frames = [app.dataframe(topic) for topic in sources]
    frame = frames[0]
    match run.task:
        case "stateless":
            frame = frame.apply(work.passed)
        case "async":
            frame = frame.apply(_looked_up)
        case "keyed":
            frame = frame.apply(_counted, stateful=True)
        case "windowed":
            windows = frame.tumbling_window(work.WINDOW_MS).agg(number=Count(), total=Sum(column="size"))
            frame = windows.final(closing_strategy="partition").apply(
                lambda one, key, timestamp, headers: work.window(
                    key.decode() if isinstance(key, bytes) else key, one["start"], one["number"], one["total"]
                ),
                metadata=True,
            )
        case "joined":
            frame = frame.join_interval(
                frames[1],
                on_merge=work.joined,
                forward_ms=work.WITHIN_MS,
                backward_ms=work.WITHIN_MS,
                grace_ms=2 * work.WITHIN_MS,
            )
    frame.to_topic(app.topic(run.output, value_serializer="json"))
    app.run(count=run.count * len(run.inputs), timeout=IDLE_SECONDS)


if __name__ == "__main__":
    main()
