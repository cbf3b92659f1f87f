"""A run over the project's log and files writes into the log, and the server continues where it ended."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from end_to_end.demo import DEMO_EDIT
from headwater.cli.init import write_project
from headwater.cli.main import main
from headwater.config import load_config
from headwater.event import get_path
from headwater.log.contract import Commit, Position, Record
from headwater.log.sqlite.log import SqliteLog
from headwater.platform import build
from headwater.processing.batch.log_target import HandOverNote
from headwater.testing.suites.log import read_all


class Killed(BaseException):
    """Stands for the end of the process."""


OUTPUTS = ("demo.edits_per_minute", "demo.page_edits")


def edits(first: int, last: int) -> list[dict[str, Any]]:
    return [
        {
            **DEMO_EDIT,
            "meta": {"stream": "demo.edit", "id": f"id-{number}", "dt": f"2026-01-31T12:{number // 60:02}:59Z"},
            "dt": f"2026-01-31T12:{number // 60:02}:{number % 60:02}Z",
            "wiki": ("enwiki", "frwiki", "dewiki")[number % 3],
            "title": f"page {number % 5}",
        }
        for number in range(first, last)
    ]


def invoke(*arguments: str | Path, exit_code: int = 0) -> str:
    result = CliRunner().invoke(main, list(map(str, arguments)), catch_exceptions=False)
    assert result.exit_code == exit_code, result.output
    return result.stderr


def write(path: Path, events: list[dict[str, Any]]) -> Path:
    path.write_text("".join(f"{json.dumps(event)}\n" for event in events))
    return path


def new_project(directory: Path) -> Path:
    write_project(directory)
    return directory


def load(project: Path, events: list[dict[str, Any]]) -> None:
    invoke("log", "load", write(project / "load.jsonl", events), "--project", project)


async def finished(
    project: Path, outputs: tuple[str, ...] = OUTPUTS, *, again: bool = False
) -> dict[str, dict[str, Any]]:
    """What is in the outputs, by id, after the server's jobs have processed everything. `again`: events may be there
    twice.
    """
    platform = build(load_config(project))
    await platform.start(run_jobs=False)
    try:
        await platform.finish_jobs()
        found: dict[str, dict[str, Any]] = {}
        for name in outputs:
            for record in await read_all(platform.log, [name]):
                value = json.loads(record.value)
                event_id = get_path(value, "meta.id")
                assert again or event_id not in found, "an event is there twice"
                found[event_id] = {**value, "meta": {**value["meta"], "dt": None}}
        return found
    finally:
        await platform.stop()


@pytest.mark.parametrize("order", ["event-time", "arrival"])
@pytest.mark.parametrize("files_first", [False, True])
def test_the_server_continues_without_a_gap_or_a_repeat(tmp_path: Path, files_first: bool, order: str) -> None:
    project, other = new_project(tmp_path / "handed over"), new_project(tmp_path / "live")
    load(other, edits(0, 400))
    expected = asyncio.run(finished(other))
    # The end of the files is in the log, too.
    in_file = edits(0, 130)[:: -1 if order == "event-time" else 1]
    older = ["--from", write(tmp_path / "older.jsonl", in_file)] if files_first else []
    into = ("--from", "log", "--to", "log", "--hand-over", "--order", order)
    load(project, edits(100 if files_first else 0, 250))
    for job in ("edits_per_minute", "page_edits"):
        stderr = invoke("job", "run", job, "--project", project, *older, *into)
        assert "continues after" in stderr
    load(project, edits(250, 400))
    assert asyncio.run(finished(project)) == expected
    again = invoke(
        *("job", "run", "page_edits", "--project", project, "--from", "log", "--to", "log", "--hand-over"), exit_code=2
    )
    assert "has run on this log already" in again


@pytest.mark.parametrize("ends", ["before the commit", "after the commit", "after it was noted", "at the end"])
def test_a_hand_over_that_is_repeated_is_completed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    project, other = new_project(tmp_path / "handed over"), new_project(tmp_path / "live")
    load(other, edits(0, 300))
    expected = asyncio.run(finished(other, ("demo.page_edits",)))
    load(project, edits(0, 200))
    hand_over = ("job", "run", "page_edits", "--project", project, "--from", "log", "--to", "log", "--hand-over")
    write_note, append = HandOverNote.write, SqliteLog.append

    def killed_at_note(self: HandOverNote, position: Position, moved: str | None, *, is_done: bool) -> None:
        if is_done and ends == "after the commit":
            raise Killed
        write_note(self, position, moved, is_done=is_done)
        if is_done and ends == "after it was noted":
            raise Killed

    async def killed_at_commit(self: SqliteLog, records: Sequence[Record], *, commit: Commit | None = None) -> Any:
        if not records and ends == "before the commit":
            raise Killed
        return await append(self, records, commit=commit)

    monkeypatch.setattr(HandOverNote, "write", killed_at_note)
    monkeypatch.setattr(SqliteLog, "append", killed_at_commit)
    if ends == "at the end":
        invoke(*hand_over)
    else:
        with pytest.raises(Killed):
            CliRunner().invoke(main, [str(one) for one in hand_over], catch_exceptions=False)
    monkeypatch.undo()
    said = invoke(*hand_over)
    assert ("has handed over the job page_edits before" in said) is (ends != "before the commit")
    load(project, edits(200, 300))
    assert asyncio.run(finished(project, ("demo.page_edits",))) == expected
    # The server has run it since; it is still what the command has handed over, unless the job is reset.
    assert "has handed over the job page_edits before" in invoke(*hand_over)
    invoke("job", "reset", "page_edits", "--yes", "--project", project)
    asyncio.run(finished(project, ("demo.page_edits",), again=True))
    assert "has run on this log already" in invoke(*hand_over, exit_code=2)


@pytest.mark.parametrize("ran_before", [True, False])
def test_a_job_that_is_to_be_reset_is_handed_over_without_what_it_kept(tmp_path: Path, ran_before: bool) -> None:
    project, other = new_project(tmp_path / "handed over"), new_project(tmp_path / "live")
    load(other, edits(0, 400))
    expected = asyncio.run(finished(other, ("demo.page_edits",)))
    load(project, edits(100, 250))
    if ran_before:
        asyncio.run(finished(project))
    older = write(tmp_path / "older.jsonl", edits(0, 130))
    hand_over = ("job", "run", "page_edits", "--project", project, "--from", older, "--from", "log", "--to", "log")
    hand_over = (*hand_over, "--hand-over")
    if ran_before:
        assert "headwater job reset page_edits --yes" in invoke(*hand_over, exit_code=2)
    invoke("job", "reset", "page_edits", "--yes", "--project", project)
    invoke(*hand_over)
    load(project, edits(250, 400))
    assert asyncio.run(finished(project, ("demo.page_edits",), again=True)) == expected


def test_a_job_that_is_to_be_rewound_is_not_handed_over(tmp_path: Path) -> None:
    project = new_project(tmp_path / "project")
    load(project, edits(0, 2))
    invoke("job", "rewind", "page_edits", "--to", "2026-01-31T12:00:00Z", "--yes", "--project", project)
    hand_over = ("job", "run", "page_edits", "--project", project, "--from", "log", "--to", "log", "--hand-over")
    assert "is to be rewound" in invoke(*hand_over, exit_code=2)


def test_a_range_of_the_log_is_input_and_results_are_appended_once(tmp_path: Path) -> None:
    project = new_project(tmp_path / "project")
    load(project, edits(0, 200))
    since = ("--since", "2026-01-31T12:01:00Z", "--until", "2026-01-31T12:02:00Z")
    common = ("job", "run", "page_edits", "--project", project, "--from", "log:demo.edit", *since)
    invoke(*common, "--to", tmp_path / "out.jsonl")
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 60
    assert "60 events were appended" in invoke(*common, "--to", "stream:demo.page_edits")
    assert "0 events were appended" in invoke(*common, "--to", "stream:demo.page_edits")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--from", "log:demo.edits", "--to", "{out}"], "does not read a stream demo.edits"),
        (["--from", "log", "--to", "log:demo.edit"], "writes no stream demo.edit"),
        (["--from", "{in}", "--to", "log", "--hand-over"], "all sources are read from it"),
        (["--from", "log", "--to", "{out}", "--hand-over"], "events that are in the log"),
    ],
)
def test_what_cannot_be_is_reported(tmp_path: Path, arguments: list[str], said: str) -> None:
    project = new_project(tmp_path / "project")
    load(project, edits(0, 2))
    places = {"in": write(tmp_path / "in.jsonl", edits(0, 1)), "out": tmp_path / "out.jsonl"}
    stderr = invoke(
        "job", "run", "page_edits", "--project", project, *[one.format(**places) for one in arguments], exit_code=2
    )
    assert said in stderr
