"""What a job is: its source, its steps and its sink, without a runner, a log or an event loop."""

from headwater.jobs.job import Job, ToStream, ToTable, job, table
from headwater.jobs.operators.windows import Window, tumbling
from headwater.jobs.steps import Context, Each, PerKey, Timer, Transition

__all__ = [
    "Context",
    "Each",
    "Job",
    "PerKey",
    "Timer",
    "ToStream",
    "ToTable",
    "Transition",
    "Window",
    "job",
    "table",
    "tumbling",
]
