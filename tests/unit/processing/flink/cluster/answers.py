"""Answers of a Flink cluster for tests, as Flink 2.2.1 gives them, by `METHOD /path`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx

from headwater.processing.flink.cluster.client import FlinkCluster

Answers = dict[str, Any]
RUNNING = {"jid": "a1", "name": "counts", "state": "RUNNING", "start-time": 5, "end-time": -1}
FAILED = {"jid": "a0", "name": "counts", "state": "FAILED", "start-time": 1, "end-time": 4}
STACK = "pemja.core.PythonException: <class 'ValueError'>: broken\n\tat /srv/jobs/counts.count(counts.py:14)\n"


def cluster_of(answers: Answers, asked: list[httpx.Request] | None = None, **options: Any) -> FlinkCluster:
    """A client of what answers with these: JSON, a response, an error to raise, or an iterator of them."""

    def answer(request: httpx.Request) -> httpx.Response:
        if asked is not None:
            asked.append(request)
        found = answers[f"{request.method} {request.url.path}"]
        if isinstance(found, Iterator):
            found = next(found)
        if callable(found):
            found = found(request)
        if isinstance(found, Exception):
            raise found
        return found if isinstance(found, httpx.Response) else httpx.Response(200, json=found)

    return FlinkCluster("http://flink:8081/", transport=httpx.MockTransport(answer), **options)


def vertices(*, state: str = "RUNNING", parallelism: int = 1) -> dict[str, Any]:
    """A job of a source, and of what counts by key."""
    return {
        "vertices": [
            {"id": one, "name": one, "parallelism": parallelism, "status": state}
            | {"metrics": {"read-records": 0, "write-records": 0}}
            for one in ("source", "state")
        ],
        "plan": {"nodes": [{"id": "state", "inputs": [{"id": "source", "ship_strategy": "HASH"}]}, {"id": "source"}]},
    }


def failures(*at_ms: int, stack: str = STACK) -> dict[str, Any]:
    """A history of these failures."""
    return {"exceptionHistory": {"entries": [{"timestamp": at, "stacktrace": stack, "taskName": "t"} for at in at_ms]}}
