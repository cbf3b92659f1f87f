"""How a job on Flink is doing is told in the words of all jobs, with the reason of the user's code."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from headwater.jobs.steps import NO_WATERMARK
from headwater.processing.flink.cluster.job_state import FlinkLook, look_at
from unit.processing.flink.cluster.answers import FAILED, RUNNING, Answers, cluster_of, failures, vertices

REASON = "ValueError: broken (counts.py:14, in count)"
NOW_MS = 1_000_000.0


def sums(request: httpx.Request) -> list[dict[str, Any]]:
    """The metrics of the source: the names, or what was asked of them."""
    values = {"Source__headwater_source_1_.numRecordsIn": 7.0, "sink_Writer.numRecordsSend": 5.0, "numRecordsIn": 70.0}
    values |= {"decode.headwater.late": 3.0, "step-count.headwater.late": 1.0, "step-count.headwater.errors": 2.0}
    asked = request.url.params.get("get")
    names = values if asked is None else asked.split(",")
    return [{"id": name} if asked is None else {"id": name, "sum": values[name]} for name in names]


def running(**changed: Any) -> Answers:
    answers: Answers = {
        "GET /jobs/overview": {"jobs": [RUNNING]},
        "GET /jobs/a1": vertices(),
        "GET /jobs/a1/exceptions": failures(),
        "GET /jobs/a1/metrics": [{"id": "numRestarts", "value": "2"}],
        "GET /jobs/a1/vertices/source/subtasks/metrics": sums,
        "GET /jobs/a1/vertices/state/subtasks/metrics": [],
        "GET /jobs/a1/vertices/state/watermarks": [{"id": "0.currentInputWatermark", "value": "900000"}],
    }
    return answers | {name.replace("_", " "): answer for name, answer in changed.items()}


async def look(answers: Answers) -> FlinkLook:
    async with cluster_of(answers) as cluster:
        return await look_at(cluster, "counts", now_ms=NOW_MS)


async def test_a_job_that_runs() -> None:
    found = await look(running())
    assert (found.state, found.trouble) == ("running", None)
    assert (found.read, found.written, found.restarts, found.watermark_ms) == (7, 5, 2, 900_000)
    # Of all operators.
    assert (found.errors, found.late) == (2, 4)


async def test_a_job_of_which_parts_are_being_started_does_not_run_yet() -> None:
    found = await look(running() | {"GET /jobs/a1": vertices(state="INITIALIZING")})
    assert (found.state, found.trouble) == ("starting", None)


async def test_a_job_that_was_just_restarted_says_why() -> None:
    found = await look(running() | {"GET /jobs/a1/exceptions": failures(int(NOW_MS) - 59_000)})
    assert (found.state, found.trouble) == ("running", f"started again: {REASON}")
    found = await look(running() | {"GET /jobs/a1/exceptions": failures(int(NOW_MS) - 61_000)})
    assert (found.state, found.trouble, found.reason) == ("running", None, REASON)


async def test_a_job_that_is_being_restarted_says_why() -> None:
    jobs = {"jobs": [RUNNING | {"state": "RESTARTING"}]}
    found = await look(running() | {"GET /jobs/overview": jobs, "GET /jobs/a1/exceptions": failures(1)})
    assert (found.state, found.trouble) == ("restarting", f"restarting: {REASON}")


async def test_a_job_that_has_failed_says_why() -> None:
    answers = {
        "GET /jobs/overview": {"jobs": [FAILED]},
        "GET /jobs/a0": vertices(state="FAILED"),
        "GET /jobs/a0/exceptions": failures(1),
    }
    found = await look(answers)
    assert (found.state, found.trouble, found.watermark_ms) == ("failed", f"failed: {REASON}", NO_WATERMARK)
    found = await look(answers | {"GET /jobs/a0/exceptions": failures()})
    assert found.trouble == "failed: Flink gives no reason"


@pytest.mark.parametrize(("state", "trouble"), [("CANCELED", "stopped: it was canceled on Flink"), ("FINISHED", None)])
async def test_a_job_that_has_ended(state: str, trouble: str | None) -> None:
    answers = {
        "GET /jobs/overview": {"jobs": [FAILED | {"state": state}]},
        "GET /jobs/a0": vertices(state=state),
        "GET /jobs/a0/exceptions": failures(),
    }
    found = await look(answers)
    assert (found.state, found.trouble) == ("stopped", trouble)


async def test_a_job_that_the_cluster_does_not_know() -> None:
    found = await look({"GET /jobs/overview": {"jobs": []}})
    assert found.state == "stopped"
    assert found.trouble == "the Flink cluster at http://flink:8081 has no job of this name"


async def test_a_cluster_that_does_not_answer() -> None:
    found = await look({"GET /jobs/overview": httpx.ConnectError("refused")})
    assert found.state == "elsewhere"
    assert found.trouble == (
        "it is not known how it is doing: The Flink cluster at http://flink:8081 does not answer: refused"
    )


async def test_the_end_of_all_times_is_no_watermark() -> None:
    ended = [{"id": "0.currentInputWatermark", "value": str(2**63 - 1)}]
    found = await look(running() | {"GET /jobs/a1/vertices/state/watermarks": ended})
    assert found.watermark_ms == NO_WATERMARK
