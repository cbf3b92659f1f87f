"""A rescaled job keeps the parallelism of everything before its first exchange by key, and so the order of events."""

from __future__ import annotations

import pytest

from headwater.errors import FlinkRefused
from headwater.processing.flink.cluster.answers import Vertex
from headwater.processing.flink.cluster.rescaling import parallelism_of, rescaled_vertices


def vertex(name: str, parallelism: int = 2, **inputs: str) -> Vertex:
    return Vertex(name, name, parallelism, "RUNNING", inputs, 0, 0)


def test_what_comes_after_an_exchange_by_key_is_rescaled() -> None:
    vertices = [
        vertex("sink", state="FORWARD"),
        vertex("state", parse="HASH"),
        vertex("parse", 4, source="FORWARD"),
        vertex("source", 4),
    ]
    assert rescaled_vertices("j", vertices, 3) == {"source": 4, "parse": 4, "state": 3, "sink": 3}
    assert parallelism_of(vertices) == 4


def test_a_job_without_an_exchange_by_key_is_not_rescaled() -> None:
    with pytest.raises(FlinkRefused, match="j has no exchange by key"):
        rescaled_vertices("j", [vertex("source"), vertex("sink", source="FORWARD")], 3)


def test_events_of_both_sides_would_lose_their_order() -> None:
    vertices = [vertex("source"), vertex("state", source="HASH"), vertex("sink", state="FORWARD", source="FORWARD")]
    with pytest.raises(FlinkRefused, match="sink in j is given events without an exchange"):
        rescaled_vertices("j", vertices, 3)


@pytest.mark.parametrize("parallelism", [0, 129])
def test_only_as_many_parts_as_there_are_groups_of_keys(parallelism: int) -> None:
    with pytest.raises(FlinkRefused, match="in 1 to 128 parts"):
        rescaled_vertices("j", [vertex("source"), vertex("state", source="HASH")], parallelism)
