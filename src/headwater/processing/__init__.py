"""How events become other events: jobs as data, the steps they are made of, and the runner that runs them."""

from headwater.processing.job import Job, ToStream, ToTable, job, table
from headwater.processing.steps import Context, Each, PerKey, Timer, Turn
from headwater.processing.windows import Window, tumbling

__all__ = [
    "Context",
    "Each",
    "Job",
    "PerKey",
    "Timer",
    "ToStream",
    "ToTable",
    "Turn",
    "Window",
    "job",
    "table",
    "tumbling",
]
