"""Jobs as diagrams: every part is there, in text and in a picture that stays within its edges."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from headwater.catalog.job_diagram import JobMeasures, StateSize, diagram_of, diagram_svg, diagram_text
from headwater.connectors.contract import Column, TableShape
from headwater.jobs import Await, Each, Job, PerKey, Transition
from headwater.jobs.job import ToStream, ToTable
from headwater.streams.registry import StreamRegistry
from headwater.streams.stream import Stream

STREAMS = StreamRegistry([Stream("edits", schema_title="wiki/edit"), Stream("counts", schema_title="wiki/count")])


async def look_up(event: object, _context: object) -> object:
    return event


STEPS = (
    Each("where", lambda event, context: event),
    Await("pages", look_up, concurrency=8),
    PerKey("count", lambda event, context: 1, lambda state, event, context: Transition(state)),
)
TABLE = ToTable(TableShape("totals", (Column("a", "text", "a"),)))
COUNTS = ToStream("counts", "1.0.0")
JOBS = [
    Job(
        "counts",
        ("edits", "other"),
        STEPS,
        ToStream("counts", "1.0.0"),
        late_stream="late",
        summary="Counts <all> edits.",
    ),
    Job("fill", ("edits",), (), TABLE),
    Job("check", ("edits",)),
    Job("branches", ("edits",), outputs=(ToStream("a"), ToStream("b"), ToStream("c"))),
]


def test_the_text_has_streams_steps_and_figures_in_order() -> None:
    measures = JobMeasures(
        lag=12, events={"edits": 1_200, "counts": 1, "counts.error": 2}, state={"count": StateSize(3, 4_500, 1)}
    )
    text = diagram_text(diagram_of(JOBS[0], STREAMS, measures))
    assert [line.strip() for line in text.splitlines()[1:]] == [
        "Counts <all> edits.",
        "",
        "edits          stream, wiki/edit, 1,200 events, lag 12",
        "other          stream",
        "↓",
        "where          each event",
        "↓",
        "pages          waits for other services, up to 8 at once",
        "↓",
        "count          state per key: 3 keys, 4.5 kB, 1 timer",
        "↓",
        "counts         stream, wiki/count:1.0.0, 1 event",
        "",
        "! late           late",
        "! counts.error   failed: 2 events",
    ]


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_the_picture_is_xml_with_every_part_inside_its_edges(job: Job) -> None:
    diagram = diagram_of(job, STREAMS, JobMeasures(rows=7))
    picture = ElementTree.fromstring(diagram_svg(diagram))
    width, height = float(picture.attrib["width"]), float(picture.attrib["height"])
    name = "{http://www.w3.org/2000/svg}"
    boxes = [group.find(f"{name}rect") for group in picture.iter(f"{name}g")]
    places = [
        tuple(float(box.attrib[side]) for side in ("x", "y", "width", "height")) for box in boxes if box is not None
    ]
    parts = (*diagram.sources, *diagram.steps, *diagram.outputs, *diagram.side)
    assert len(places) == len(parts)
    assert len({place[:2] for place in places}) == len(places), "two boxes are in one place"
    for left, top, box_width, box_height in places:
        assert 0 <= left <= left + box_width <= width
        assert 0 <= top <= top + box_height <= height
    texts = " ".join(text.text or "" for text in picture.iter(f"{name}text"))
    assert all(part.name in texts for part in parts)
    title = picture.find(f"{name}title")
    assert title is not None
    assert title.text is not None
    assert title.text.startswith(job.name)


def test_a_long_name_is_shortened_in_the_picture() -> None:
    picture = diagram_svg(diagram_of(Job("long", ("x" * 200,)), STREAMS))
    assert max(map(len, re.findall(r">([^<]*)</text>", picture))) <= 46
