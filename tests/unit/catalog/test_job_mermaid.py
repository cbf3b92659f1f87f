"""Jobs as one flowchart: every stream, step and table once, and every way between them."""

from __future__ import annotations

import re

from headwater.catalog.job_diagram import diagram_of
from headwater.catalog.job_mermaid import diagrams_mermaid
from headwater.connectors.contract import Column, TableShape
from headwater.jobs import Each, Job
from headwater.jobs.job import ToStream, ToTable
from headwater.streams.registry import StreamRegistry

NODE = re.compile(r'^\s+(\w+)(?:\[\("|\(\["|\["|\[/")(.*?)(?:"\)\]|"\]\)|"\]|"/\])$')
EDGE = re.compile(r"^\s+(\w+) (-->|-\. [\w ]+ \.->) (\w+)$")


def drawn(*jobs: Job) -> tuple[list[str], set[tuple[str, str, str]]]:
    """The labels of all nodes, and the edges between them by their labels."""
    text = diagrams_mermaid([diagram_of(job, StreamRegistry()) for job in jobs])
    lines = text.splitlines()
    assert lines[0] == "flowchart TD"
    labels = dict(found.groups() for line in lines if (found := NODE.match(line)))
    edges = [found.groups() for line in lines if (found := EDGE.match(line))]
    # Whatever is no node is known: nothing is left unread.
    others = [line for line in lines[1:] if not NODE.match(line) and not EDGE.match(line)]
    assert all(
        re.match(r"\s+(subgraph job\d+\[\".*\"\]|end|classDef \w+ [\w#:,]+|class [\w,]+ \w+)$", one) for one in others
    )
    return list(labels.values()), {(labels[start], how, labels[end]) for start, how, end in edges}


def step(name: str) -> Each:
    return Each(name, lambda event, context: event)


def test_the_steps_of_a_job_are_a_chain_from_its_streams_to_its_outputs() -> None:
    job = Job("count", ("edits", "moves"), (step("where"), step("map")), ToStream("counts"), late_stream="late")
    labels, edges = drawn(job)
    assert sorted(labels) == ["count.error", "counts", "edits", "late", "map", "moves", "where"]
    assert edges == {
        ("edits", "-->", "where"),
        ("moves", "-->", "where"),
        ("where", "-->", "map"),
        ("map", "-->", "counts"),
        ("map", "-. late .->", "late"),
        ("map", "-. failed .->", "count.error"),
    }


def test_what_several_jobs_have_is_one_node_and_a_job_without_steps_is_one() -> None:
    totals = TableShape("totals", (Column("a", "text", "a"),))
    labels, edges = drawn(
        Job("count", ("edits",), (step("add"),), ToStream("totals")), Job("fill", ("totals",), (), ToTable(totals))
    )
    # The stream and the table have the same name, and are two nodes.
    assert sorted(labels) == ["add", "count.error", "edits", "fill", "fill.error", "totals", "totals"]
    assert {("add", "-->", "totals"), ("totals", "-->", "fill"), ("fill", "-->", "totals")} <= edges


def test_a_table_that_a_job_looks_things_up_in_is_drawn_so() -> None:
    _, edges = drawn(Job("join", ("edits",), (step("look_up"),), tables=("pages",)))
    assert ("pages", "-. by key .->", "look_up") in edges


def test_names_with_signs_of_the_language_are_escaped() -> None:
    labels, _ = drawn(Job("odd", ("edits",), (step('a "b" <c>'),)))
    assert "a &quot;b&quot; &lt;c&gt;" in labels
