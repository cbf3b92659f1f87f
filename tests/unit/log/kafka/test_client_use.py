"""What of the Kafka client must not be used: requests that end the whole process when a broker goes away."""

from __future__ import annotations

import re
from pathlib import Path

import headwater.log

# librdkafka sends these to the broker that keeps the group, and aborts where that changes (issues 3663 and 4605).
TO_COORDINATORS = re.compile(
    r"\.((?:list|alter|delete)_consumer_group_offsets|(?:describe|delete)_consumer_groups|describe_transactions)\("
)


def test_no_request_of_the_admin_client_goes_to_the_broker_that_keeps_a_group() -> None:
    folder = Path(next(iter(headwater.log.__path__)))
    modules = [(path.name, path.read_text()) for path in folder.glob("*.py")]
    assert [f"{name}: {found[1]}" for name, text in modules for found in TO_COORDINATORS.finditer(text)] == []
