"""How old an event is for those who look something up: a replica may not have what is young."""

import time
from typing import Any

from headwater.jobs import Context
from headwater.times import time_ms


def age_seconds(event: dict[str, Any], context: Context) -> float:
    """How long ago the event was received: a replica of a wiki may not have a young revision yet."""
    if context.scope.processing_ms is not None:
        return context.age
    # Over history the clock of the job stands where the events are, but replicas lag behind the present.
    received = time_ms(event["meta"]["dt"]) or 0
    return max(0.0, time.time() - received / 1000)
