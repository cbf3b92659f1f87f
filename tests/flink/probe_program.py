"""A program for Flink itself, without Headwater: numbers are counted by key; the function fails where it is told to.

Arguments: the name of the job, at which count of a key it fails (0: never), the execution mode, and whether failed
jobs are restarted.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any

from pyflink.common import Configuration, Types, WatermarkStrategy
from pyflink.datastream import KeyedProcessFunction, RuntimeContext, StreamExecutionEnvironment
from pyflink.datastream.connectors.number_seq import NumberSequenceSource
from pyflink.datastream.state import ValueStateDescriptor

PAUSE_SECONDS = 0.01


class Count(KeyedProcessFunction):
    def __init__(self, fails_at: int) -> None:
        self._fails_at = fails_at

    def open(self, runtime_context: RuntimeContext) -> None:
        self._count = runtime_context.get_state(ValueStateDescriptor("count", Types.PICKLED_BYTE_ARRAY()))

    def process_element(self, value: int, ctx: Any) -> Iterator[int]:
        time.sleep(PAUSE_SECONDS)
        count = (self._count.value() or 0) + 1
        self._count.update(count)
        if count == self._fails_at:
            raise ValueError(f"the number {value} is broken")
        yield value


def main() -> None:
    name, fails_at, mode, restarts = sys.argv[1:5]
    settings = Configuration()
    settings.set_string("python.execution-mode", mode)
    settings.set_string("execution.checkpointing.interval", "1 s")
    settings.set_string("restart-strategy.type", "exponential-delay" if restarts == "restarted" else "none")
    environment = StreamExecutionEnvironment.get_execution_environment(settings)
    environment.set_parallelism(1)
    numbers = environment.from_source(
        NumberSequenceSource(0, 2**40), WatermarkStrategy.no_watermarks(), "numbers", Types.LONG()
    )
    # Few buffers, so that a checkpoint does not wait for what is in them.
    numbers = numbers.map(lambda value: time.sleep(PAUSE_SECONDS) or value, Types.LONG())
    counted = numbers.key_by(lambda value: value % 7, Types.LONG()).process(Count(int(fails_at)), Types.LONG())
    counted.uid("count").name("count").print()
    environment.execute(name)


main()
