"""A job as a diagram: its streams, steps and table, from top to bottom, as text or as SVG."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Literal, assert_never

from headwater.jobs.job import Job
from headwater.jobs.steps import Await, Each, PerKey, Step
from headwater.streams.registry import StreamRegistry

Kind = Literal["source", "stream", "step", "table"]

# Of the SVG, in pixels.
BOX_WIDTH = 300
BOX_HEIGHT = 56
GAP = 36
CHARACTERS_MAX = 38


@dataclass(frozen=True, slots=True)
class StateSize:
    """What a step keeps: keys, the bytes of their values, and timers."""

    keys: int = 0
    value_bytes: int = 0
    timers: int = 0


@dataclass(frozen=True, slots=True)
class JobMeasures:
    """What is known of a job that has run: records not processed yet, events per stream, state per step, rows."""

    lag: int | None = None
    events: Mapping[str, int] = field(default_factory=dict)
    state: Mapping[str, StateSize] = field(default_factory=dict)
    rows: int | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """A box of the diagram; `detail` is a line below its name."""

    kind: Kind
    name: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class JobDiagram:
    """The parts of a job in the order in which events pass them. `side` are late events and errors."""

    title: str
    place: str
    summary: str
    sources: tuple[Part, ...]
    steps: tuple[Part, ...]
    outputs: tuple[Part, ...]
    side: tuple[Part, ...]


def diagram_of(job: Job, streams: StreamRegistry, measures: JobMeasures | None = None) -> JobDiagram:
    """The diagram of a job; without `measures`, of what it is."""
    measured, writes = measures or JobMeasures(), job.writes()

    def stream(name: str, *more: str) -> Part:
        known = streams.find(name)
        title = known.schema_title if known is not None and known.schema_title else ""
        events = measured.events.get(name)
        version = job.output_version(name)
        counted = "" if events is None else _counted(events, "event")
        details = ["stream", f"{title}:{version}" if title and version else title, counted, *more]
        return Part("stream", name, ", ".join(filter(None, details)))

    lag = () if measured.lag is None else (f"lag {measured.lag:,}",)
    outputs = [stream(name) for name in writes.outputs]
    if writes.table is not None:
        rows = () if measured.rows is None else (_counted(measured.rows, "row"),)
        by = () if writes.sink is None else (f"by {writes.sink.spec.name}",)
        outputs.append(Part("table", writes.table.name, ", ".join(("table", *by, *rows))))
    if writes.events is not None:
        by = () if writes.sink is None else (f"by {writes.sink.spec.name}",)
        outputs.append(Part("table", writes.events.name, ", ".join(("events", *by))))
    if writes.materialized is not None:
        rows = () if measured.rows is None else (_counted(measured.rows, "row"),)
        outputs.append(Part("table", writes.materialized.name, ", ".join(("materialized table", *rows))))
    side = [
        Part(
            "stream",
            name,
            words if name not in measured.events else f"{words}: {_counted(measured.events[name], 'event')}",
        )
        for name, words in ((writes.late, "late"), (writes.errors, "failed"))
        if name
    ]
    return JobDiagram(
        job.name,
        str(job.place or ""),
        job.summary,
        (
            *(() if job.input is None else (Part("source", job.input.name, f"source, by {job.input.spec.name}"),)),
            *(stream(name, *(lag if number == 0 else ())) for number, name in enumerate(job.reads())),
            *(Part("table", name, "materialized table, read by key") for name in job.tables),
        ),
        _steps(job, measured),
        tuple(outputs),
        tuple(side),
    )


def _steps(job: Job, measured: JobMeasures) -> tuple[Part, ...]:
    if job.query is not None:
        called = ", ".join(job.query.functions)
        return (Part("step", "query", "Flink SQL" + (f", calls {called}" if called else "")),)
    return tuple(Part("step", step.name, _step_detail(step, measured.state.get(step.name))) for step in job.steps)


def _step_detail(step: Step, state: StateSize | None) -> str:
    match step:
        case Each():
            return "each event"
        case Await():
            return f"waits for other services, up to {step.concurrency:,} at once"
        case PerKey():
            if state is None:
                return "state per key"
            size = f"{_counted(state.keys, 'key')}, {size_text(state.value_bytes)}"
            return f"state per key: {size}" + (f", {_counted(state.timers, 'timer')}" if state.timers else "")
        case _:
            assert_never(step)


def _counted(count: int, word: str) -> str:
    return f"{count:,} {word}" + ("" if count == 1 else "s")


def size_text(count: float) -> str:
    """A number of bytes for people: `12 B`, `3.4 MB`."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def diagram_text(diagram: JobDiagram) -> str:
    """For a terminal: a line per part, arrows between them."""
    parts = (*diagram.sources, *diagram.steps, *diagram.outputs, *diagram.side)
    width = max(len(part.name) for part in parts) + 3

    def line(part: Part, mark: str = " ") -> str:
        return f"  {mark} {part.name:<{width}}{part.detail}".rstrip()

    lines = [f"{diagram.title} ({diagram.place})" if diagram.place else diagram.title]
    lines += [diagram.summary] if diagram.summary else []
    lines.append("")
    for level in (diagram.sources, *((step,) for step in diagram.steps), diagram.outputs):
        if level is not diagram.sources and level:
            lines.append("      ↓")
        lines += [line(part) for part in level]
    lines += ["", *(line(part, "!") for part in diagram.side)]
    return "\n".join(lines) + "\n"


_COLOURS: Mapping[Kind, tuple[str, str]] = {
    "source": ("#fdf3e3", "#a86a12"),
    "stream": ("#e7f0fb", "#2f6fb0"),
    "step": ("#ffffff", "#55606e"),
    "table": ("#e9f6ec", "#2e7d4f"),
}


def diagram_svg(diagram: JobDiagram) -> str:
    """A picture with a title and a description for readers who do not see it."""
    levels: list[Sequence[Part]] = [diagram.sources, *((step,) for step in diagram.steps)]
    levels += [diagram.outputs] if diagram.outputs else []
    columns = max(len(level) for level in levels)
    inner = columns * BOX_WIDTH + (columns - 1) * GAP
    width = inner + 2 * GAP + (BOX_WIDTH + GAP if diagram.side else 0)
    height = max(len(levels), len(diagram.side)) * (BOX_HEIGHT + GAP) + GAP
    drawn = list(_drawn(diagram, levels, inner))
    words = escape(f"{diagram.title}: {diagram.summary}" if diagram.summary else diagram.title)
    description = escape("; ".join(f"{part.name}: {part.detail}" for level in levels for part in level))
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            'role="img" font-family="system-ui, sans-serif" font-size="14">',
            f"<title>{words}</title>",
            f"<desc>{description}</desc>",
            '<defs><marker id="arrow" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" '
            'orient="auto"><path d="M0 0 L10 5 L0 10 z" fill="#55606e"/></marker></defs>',
            f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
            *drawn,
            "</svg>",
            "",
        ]
    )


def _drawn(diagram: JobDiagram, levels: Sequence[Sequence[Part]], inner: int) -> Iterator[str]:
    tops = [GAP + number * (BOX_HEIGHT + GAP) for number in range(len(levels))]
    middles = []
    for level, top in zip(levels, tops, strict=True):
        free = inner - len(level) * BOX_WIDTH - (len(level) - 1) * GAP
        lefts = [GAP + free // 2 + number * (BOX_WIDTH + GAP) for number in range(len(level))]
        middles.append([left + BOX_WIDTH // 2 for left in lefts])
        for part, left in zip(level, lefts, strict=True):
            yield _box(part, left, top)
    for number in range(len(levels) - 1):
        # Many at one end meet at one at the other: steps are always alone on their level.
        for above in middles[number]:
            for below in middles[number + 1]:
                yield _arrow((above, tops[number] + BOX_HEIGHT), (below, tops[number + 1]))
    side_left = GAP + inner + GAP
    for number, part in enumerate(diagram.side):
        top = GAP + (len(levels) - 1 - number) * (BOX_HEIGHT + GAP) if number < len(levels) else tops[0]
        yield _box(part, side_left, max(top, GAP), dashed=True)


def _box(part: Part, left: int, top: int, *, dashed: bool = False) -> str:
    fill, stroke = _COLOURS[part.kind]
    dashes = ' stroke-dasharray="5 4"' if dashed else ""
    radius = 4 if part.kind == "step" else 14
    middle = left + BOX_WIDTH // 2
    return (
        f'<g><rect x="{left}" y="{top}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="{radius}" fill="{fill}" '
        f'stroke="{stroke}" stroke-width="1.5"{dashes}/>'
        f'<text x="{middle}" y="{top + 24}" text-anchor="middle" fill="#1d2733" font-weight="600">'
        f"{escape(_short(part.name, CHARACTERS_MAX - 4))}</text>"
        f'<text x="{middle}" y="{top + 43}" text-anchor="middle" fill="#4a5563" font-size="12">'
        f"{escape(_short(part.detail, CHARACTERS_MAX + 8))}</text></g>"
    )


def _arrow(start: tuple[int, int], end: tuple[int, int]) -> str:
    return (
        f'<path d="M{start[0]} {start[1]} L{end[0]} {end[1]}" stroke="#55606e" stroke-width="1.5" fill="none" '
        'marker-end="url(#arrow)"/>'
    )


def _short(text: str, characters_max: int) -> str:
    return text if len(text) <= characters_max else text[: characters_max - 1] + "…"
