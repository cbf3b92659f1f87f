"""How jobs run: the runners, the stores they commit to, and what becomes of a job's output.

What a job is, `headwater.jobs` says. Its names are here as well, since job files of earlier versions import them here.
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
