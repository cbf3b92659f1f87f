"""Events of mobile apps without who sent them, all in one stream, which the lake has as one table.

How this works: the job reads each stream of the project whose schema is one of `analytics/mobile_apps/`, so that a new
one needs its declaration only. Apps send events hours or days later: when something happened is `dt`, and the table is
divided by when it was received. Nothing depends on other events, and nothing is ever late.
"""

from pathlib import Path
from typing import Any

from headwater.jobs import Context, Dedupe, Each, Job, ToStream

from ..content import app_events, pages

SANITIZED = "mobile_apps.sanitized.v1"
STREAMS = app_events.app_streams(Path(__file__).parent.parent / "streams")


def sanitized(event: dict[str, Any], context: Context) -> dict[str, Any]:
    """The event without who sent it; raises InvalidInput for one that does not say when it happened."""
    stream = STREAMS[str(context.stream)]
    meta = event["meta"]
    made = {
        "dt": pages.field(event, "dt", str),
        "received_dt": pages.field(meta, "dt", str),
        "source_stream": stream.name,
        "source_schema": pages.field(event, "$schema", str),
        **app_events.kept_of(event, stream),
    }
    return {"meta": {"domain": meta["domain"]}, **made} if isinstance(meta.get("domain"), str) else made


mobile_app_lake = Job(
    "mobile_app_lake",
    tuple(STREAMS),
    steps=(Dedupe().step("dedupe"), Each("sanitized", sanitized)),
    output=ToStream(SANITIZED, "1.0.0"),
    summary="Events of mobile apps, without who sent them.",
)
