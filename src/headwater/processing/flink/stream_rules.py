"""Refuses a job on Flink of which rules of the API have changed a stream.

Operators on Flink have the streams as the project's files declare them: no process of theirs follows the rules. A job
would otherwise write to a stream that somebody has turned off, or sample it at another rate than all others.
"""

from __future__ import annotations

from headwater.control.revision import ALL_STREAMS
from headwater.control.stream_control import StreamControl
from headwater.jobs.job import Job
from headwater.log.contract import Log
from headwater.streams.registry import StreamRegistry
from headwater.telemetry import Telemetry


async def require_unchanged(log: Log, declared: StreamRegistry, job: Job) -> None:
    """Raise JobInvalid if rules of the API change a stream of the job now. Raises LogUnavailable."""
    control = StreamControl(log, declared, Telemetry(), lambda streams: None)
    await control.start()
    await control.stop()
    changed = [
        name for name in (*job.reads(), *job.writes().streams) if control.streams.find(name) != declared.find(name)
    ]
    if not changed:
        return
    rules = [rule.id for _, rule in control.state.rules.values() if rule.stream in (ALL_STREAMS, *changed)]
    raise job.invalid(
        f"Rules of the API change {', '.join(changed)} ({', '.join(rules)}), and on Flink the job {job.name} would not"
        " follow them.",
        hint="Write what they change into the streams' files, and remove the rules (`POST /v1/stream-changes`); or run"
        " the job embedded.",
    )
