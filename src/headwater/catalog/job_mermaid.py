"""Jobs as one flowchart in Mermaid, which code hosts draw: streams that several jobs have are one node."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from headwater.catalog.job_diagram import JobDiagram, Kind, Part

_SHAPES = {"source": ('[/"', '"/]'), "stream": ('(["', '"])'), "step": ('["', '"]'), "table": ('[("', '")]')}
_CLASSES = {
    "source": "fill:#fdf3e3,stroke:#a86a12,color:#1d2733",
    "stream": "fill:#e7f0fb,stroke:#2f6fb0,color:#1d2733",
    "step": "fill:#ffffff,stroke:#55606e,color:#1d2733",
    "table": "fill:#e9f6ec,stroke:#2e7d4f,color:#1d2733",
}


def diagrams_mermaid(diagrams: Sequence[JobDiagram]) -> str:
    """The flowchart of these jobs, from top to bottom. Of streams and tables only the name is drawn."""
    nodes = _Nodes()
    lines = [line for number, diagram in enumerate(diagrams) for line in _job(diagram, number, nodes)]
    return "\n".join(["flowchart TD", *nodes.lines, *lines, *nodes.classes(), ""])


class _Nodes:
    """The streams, tables and sources of all jobs, each once, and the ids of each kind of node."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._ids: dict[tuple[str, str], str] = {}
        self._of_kind: dict[Kind, list[str]] = {}

    def outer(self, part: Part) -> str:
        """The id of a stream, table or source."""
        # A table and a stream may have the same name.
        key = (part.kind, part.name)
        if key not in self._ids:
            self._ids[key] = f"{part.kind}{len(self._ids)}"
            self.lines.append("  " + self.node(self._ids[key], part.kind, part.name))
        return self._ids[key]

    def node(self, name: str, kind: Kind, label: str) -> str:
        opening, closing = _SHAPES[kind]
        self._of_kind.setdefault(kind, []).append(name)
        return f"{name}{opening}{_escaped(label)}{closing}"

    def classes(self) -> Iterator[str]:
        for kind, names in self._of_kind.items():
            yield f"  classDef {kind} {_CLASSES[kind]}"
            yield f"  class {','.join(names)} {kind}"


def _job(diagram: JobDiagram, number: int, nodes: _Nodes) -> Iterator[str]:
    # A job without steps is a node; the others are a frame with a node for each step.
    labels = [part.name for part in diagram.steps]
    steps = [f"job{number}step{place}" for place in range(len(labels) or 1)]
    if labels:
        yield f'  subgraph job{number}["{_escaped(diagram.title)}"]'
        yield from ("    " + nodes.node(step, "step", label) for step, label in zip(steps, labels, strict=True))
        yield "  end"
    else:
        yield "  " + nodes.node(steps[0], "step", diagram.title)
    for part in diagram.sources:
        # A table is looked up; events come from everything else.
        yield f"  {nodes.outer(part)} {'-. by key .->' if part.kind == 'table' else '-->'} {steps[0]}"
    yield from (f"  {before} --> {after}" for before, after in pairwise(steps))
    yield from (f"  {steps[-1]} --> {nodes.outer(part)}" for part in diagram.outputs)
    yield from (f"  {steps[-1]} -. {part.detail.partition(':')[0]} .-> {nodes.outer(part)}" for part in diagram.side)


def _escaped(label: str) -> str:
    return label.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;").replace(">", "&gt;")
