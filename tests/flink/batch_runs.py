"""Runs a job over a file of events, as `headwater job run --from … --to …` does, and reads what it has written."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from click.testing import CliRunner

from flink.corpus import PROJECT, Event
from headwater.cli import main

EVENTS, ERRORS = "events", "errors"


def run_batch(job: str, events: Iterable[Event], folder: Path) -> dict[str, list[Event]]:
    """What the job has written, in order, by stream; its error events as those of the stream ERRORS.

    The events come in this order, as if they arrived so.
    """
    folder.mkdir()
    source, target, errors = (folder / f"{name}.jsonl" for name in (EVENTS, "written", ERRORS))
    source.write_text("".join(f"{json.dumps(event)}\n" for event in events), "utf-8")
    arguments = ["--from", str(source), "--to", str(target), "--errors", str(errors), "--order", "arrival", "--restart"]
    answer = CliRunner().invoke(main, ["job", "run", job, "--project", str(PROJECT), *arguments])
    assert answer.exit_code == 0, answer.output
    found: dict[str, list[Event]] = {ERRORS: _read(errors)}
    for event in _read(target):
        found.setdefault(event["meta"]["stream"], []).append(event)
    return found


def _read(path: Path) -> list[Event]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n") if line]
