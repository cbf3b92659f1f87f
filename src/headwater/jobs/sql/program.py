"""A program that is written for Flink itself, as a job without steps: its name, what it reads, and what it writes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from headwater.jobs.job import Job, OnError, Start, ToStream


def named_stream(text: str) -> tuple[str, str | None]:
    """`stream` or `stream:1.0.0`, as stream and version."""
    parsed = ToStream.parse(text)
    return parsed.stream, parsed.version


def reading_program(
    name: str, stream: str, project: Path, *, on_error: OnError, canaries: bool = False, start: Start = "oldest"
) -> Job:
    """The part of a program that reads a stream. Raises JobInvalid for a name that no job can have."""
    return Job(name, (stream,), canaries=canaries, on_error=on_error, start=start, project=project)


def writing_program(name: str, reads: Sequence[str], output: str, project: Path, *, on_error: OnError) -> Job:
    """The part of a program that writes `output`, `stream` or `stream:1.0.0`. `reads`: the streams that its other parts
    read; without any, its rows come from elsewhere, and what it could not write is for those who may see everything.

    Raises JobInvalid.
    """
    written = ToStream.parse(output)
    sources = tuple(one for one in reads if one != written.stream)
    return Job(name, sources or (f"{name}.rows",), output=written, on_error=on_error, project=project)
