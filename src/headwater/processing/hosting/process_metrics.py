"""The metrics about the processes of jobs themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from headwater.processing.hosting.process import JobProcess
from headwater.processing.hosting.resources import cpu_seconds, resident_bytes
from headwater.telemetry import Telemetry, closed


class ProcessMetrics:
    """Those of `processes`, a list that may still get its members, of at most `count`."""

    def __init__(self, telemetry: Telemetry, processes: Sequence[JobProcess], count: int) -> None:
        self._processes = processes
        up = telemetry.gauge(
            "headwater_job_process_up", "Whether a process of jobs runs and responds.", (closed("process"),)
        )
        resident = telemetry.gauge(
            "headwater_job_process_resident_bytes", "The memory that a process of jobs uses.", (closed("process"),)
        )
        self._cpu = telemetry.counter(
            "headwater_job_process_cpu_seconds",
            "The processor time that a process of jobs and its predecessors have used.",
            (closed("process"),),
        )
        self._restarts = telemetry.counter(
            "headwater_job_process_restarts",
            "How often a process of jobs has ended and was started again.",
            (closed("process"),),
        )
        # Process and pid → the processor time that is counted already.
        self._counted: dict[int, tuple[int, float]] = {}
        self._restarts_counted: dict[int, int] = {}
        for number in range(1, count + 1):
            up.labels(str(number)).set_function(self._value(number, lambda process: float(process.state.is_up)))
            resident.labels(str(number)).set_function(self._value(number, _resident))

    def count(self) -> None:
        """Add what was used since the last time."""
        for process in self._processes:
            number, restarts, pid = process.state.number, process.state.restarts, process.pid
            label = str(number)
            self._restarts.labels(label).inc(restarts - self._restarts_counted.get(number, 0))
            self._restarts_counted[number] = restarts
            used = None if pid is None else cpu_seconds(pid)
            if pid is not None and used is not None:
                counted = self._counted.get(number, (pid, 0.0))
                self._cpu.labels(label).inc(max(0.0, used - (counted[1] if counted[0] == pid else 0.0)))
                self._counted[number] = pid, used

    def _value(self, number: int, of: Callable[[JobProcess], float]) -> Callable[[], float]:
        return lambda: of(self._processes[number - 1]) if number <= len(self._processes) else 0.0


def _resident(process: JobProcess) -> float:
    return 0.0 if process.pid is None else float(resident_bytes(process.pid) or 0)
