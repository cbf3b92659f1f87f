"""What a job is: its source, its steps and its sink, without a runner, a log or an event loop."""

from headwater.jobs.decorators import job, table
from headwater.jobs.job import Job, ToStream, ToTable
from headwater.jobs.operators.dedupe import Dedupe
from headwater.jobs.operators.join import Join, Pair
from headwater.jobs.operators.rate import Rate
from headwater.jobs.operators.reorder import Reorder
from headwater.jobs.operators.sessions import session
from headwater.jobs.operators.sliding import sliding
from headwater.jobs.operators.windows import Window, tumbling
from headwater.jobs.outcomes import NotYet, Postpone, Reject, Retry
from headwater.jobs.scope import Scope
from headwater.jobs.sql.decorator import sql_job
from headwater.jobs.sql.flink import flink_sql
from headwater.jobs.steps import Await, Context, Each, PerKey, Timer, Transition

__all__ = [
    "Await",
    "Context",
    "Dedupe",
    "Each",
    "Job",
    "Join",
    "NotYet",
    "Pair",
    "PerKey",
    "Postpone",
    "Rate",
    "Reject",
    "Reorder",
    "Retry",
    "Scope",
    "Timer",
    "ToStream",
    "ToTable",
    "Transition",
    "Window",
    "flink_sql",
    "job",
    "session",
    "sliding",
    "sql_job",
    "table",
    "tumbling",
]
