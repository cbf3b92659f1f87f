"""How jobs run: the runners, the stores they commit to, and the processing of a job's output.

`headwater.jobs` defines what a job is. Its names are here as well, for job files of earlier versions.
"""

from headwater.jobs import (
    Context,
    Each,
    Job,
    PerKey,
    Timer,
    ToStream,
    ToTable,
    Window,
    job,
    table,
    tumbling,
)
from headwater.jobs import Transition as Turn

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
