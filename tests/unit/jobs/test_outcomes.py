"""The policy of retries: what it accepts, and which failures are transient by it."""

from __future__ import annotations

from typing import Any

import pytest

from headwater.errors import JobInvalid, LogUnavailable
from headwater.foreign import Escaped
from headwater.jobs import NotYet, Reject, Retry


def test_durations_are_kept_in_milliseconds() -> None:
    retry = Retry(within="2m", base=0.25, max="10s", park=("1m", 600), hold_key=True)
    assert (retry.within_ms, retry.base_ms, retry.max_ms) == (120_000, 250, 10_000)
    assert (retry.park_ms, retry.hold_key) == ((60_000, 600_000), True)
    assert Retry(park="1m, 10m,1h").park_ms == (60_000, 600_000, 3_600_000)
    assert Retry(within=0).within_ms == 0
    assert Retry() == Retry("60s", "0.5s", "30s")


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"within": "soon"}, "Retry: `within`: 'soon' is not a duration"),
        ({"base": None}, "Retry: `base`: None is not a duration"),
        ({"base": 0}, "Retry: `base` is the first pause"),
        ({"max": "0.1s"}, "Retry: `max`, '0.1s', is shorter than `base`"),
        ({"max": -1}, "Retry: `max`"),
        ({"park": "1m;2m"}, "Retry: `park`"),
        ({"park": 3}, "Retry: `park` is a list of durations, not 3"),
        ({"park": ("0s",)}, "cannot be parked for no time"),
        ({"park": ["1s"] * 21}, "`park` has 21 durations"),
        ({"park": ""}, "Retry: `park`"),
        ({"on": "ValueError"}, "Retry: `on` is a class of exceptions"),
        ({"on": [ValueError, 3]}, "Retry: `on` is a class of exceptions"),
        ({"on": BaseException}, "Retry: `on` is a class of exceptions"),
        ({"hold_key": 1, "park": "1m"}, "`hold_key` is True or False"),
        ({"hold_key": True}, "`hold_key` is about parked events"),
    ],
)
def test_what_a_policy_does_not_take_is_named(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(JobInvalid, match=complaint.replace("(", r"\(")):
        Retry(**settings)


@pytest.mark.parametrize(
    ("error", "is_transient"),
    [
        (NotYet("replica lags"), True),
        (ConnectionResetError(), True),
        (TimeoutError(), True),
        (LogUnavailable("away"), True),
        (Reject("gone"), False),
        (ValueError(), False),
        (JobInvalid("wrong"), False),
        (Escaped(SystemExit()), False),
        (KeyError(), True),
        (LookupError(), False),
    ],
)
def test_which_failures_are_transient(error: Exception, is_transient: bool) -> None:
    assert Retry(on=(KeyError,)).is_transient(error) is is_transient


def test_what_is_rejected_stays_rejected_even_if_all_exceptions_are_named() -> None:
    assert not Retry(on=Exception).is_transient(Reject("gone"))
    assert Retry(on=Exception).is_transient(JobInvalid("wrong"))
