"""What a job is: its source, its steps and its sink, without a runner, a log or an event loop."""

from headwater.jobs.job import Job, ToStream, ToTable, job, table
from headwater.jobs.operators.windows import Window, tumbling
from headwater.jobs.outcomes import NotYet, Reject, Retry
from headwater.jobs.scope import Scope
from headwater.jobs.steps import Await, Context, Each, PerKey, Timer, Transition

__all__ = [
    "Await",
    "Context",
    "Each",
    "Job",
    "NotYet",
    "PerKey",
    "Reject",
    "Retry",
    "Scope",
    "Timer",
    "ToStream",
    "ToTable",
    "Transition",
    "Window",
    "job",
    "table",
    "tumbling",
]
