"""`headwater job run`: one job over files, with the outputs, ids and error events of a server; results are whole."""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import time
from pathlib import Path
from typing import Any

import duckdb
import pytest
from click.testing import CliRunner, Result

from end_to_end.demo import DEMO_EDIT
from end_to_end.running import HEADWATER
from headwater.cli.init import write_project
from headwater.cli.main import main
from headwater.processing.batch.parquet import write_parquet
from headwater.times import time_ms


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("project") / "demo"
    write_project(directory)
    return directory


def edit(number: int, **fields: Any) -> dict[str, Any]:
    meta = {"stream": "demo.edit", "id": f"id-{number}", **fields.pop("meta", {})}
    at = f"2026-01-31T12:{number // 60:02}:{number % 60:02}Z"
    return {**DEMO_EDIT, "dt": at, "title": f"page {number % 3}", "meta": meta, **fields}


def write(path: Path, events: list[Any]) -> Path:
    text = "".join(f"{one if isinstance(one, str) else json.dumps(one)}\n" for one in events)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def read(path: Path) -> list[dict[str, Any]]:
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [json.loads(line) for line in data.splitlines()]


def run(project: Path, name: str, *arguments: str | Path, stdin: bytes = b"") -> Result:
    asked = ["job", "run", name, "--project", str(project), *map(str, arguments)]
    return CliRunner().invoke(main, asked, input=stdin, catch_exceptions=False)


def test_a_job_runs_over_a_gzipped_file_without_a_server(project: Path, tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl.gz", [edit(number) for number in range(130)])
    result = run(project, "edits_per_minute", "--from", source, "--to", tmp_path / "out.jsonl")
    assert result.exit_code == 0, result.output
    rows = read(tmp_path / "out.jsonl")
    assert [(row["window_start"], row["edits"]) for row in rows] == [
        ("2026-01-31T12:00:00Z", 60),
        ("2026-01-31T12:01:00Z", 60),
        ("2026-01-31T12:02:00Z", 10),
    ]
    assert {row["meta"]["stream"] for row in rows} == {"demo.edits_per_minute"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl.gz", "out.jsonl"]


@pytest.mark.parametrize("name", ["edits_per_minute", "page_edits"])
def test_shuffled_input_gives_the_same_as_sorted_input(project: Path, tmp_path: Path, name: str) -> None:
    events = [edit(number) for number in range(200)]
    write(tmp_path / "sorted.jsonl", events)
    write(tmp_path / "shuffled.jsonl", random.Random(3).sample(events, len(events)))
    for kind in ("sorted", "shuffled"):
        assert run(project, name, "--from", tmp_path / f"{kind}.jsonl", "--to", tmp_path / f"{kind}.out").exit_code == 0
    assert (tmp_path / "sorted.out").read_bytes() == (tmp_path / "shuffled.out").read_bytes() != b""


def test_a_line_that_is_no_valid_event_is_an_error_event_with_its_place_and_the_run_goes_on(
    project: Path, tmp_path: Path
) -> None:
    events = [edit(1), "{", edit(2, bytes="many"), "[1]", "", {**edit(3), "$schema": "/demo/edit/9.9.9"}, edit(4)]
    source = write(tmp_path / "in.jsonl", events)
    result = run(
        project, "page_edits", "--from", source, "--to", tmp_path / "out.jsonl", "--errors", tmp_path / "errors.jsonl"
    )
    assert result.exit_code == 0, result.output
    assert len(read(tmp_path / "out.jsonl")) == 2
    errors = read(tmp_path / "errors.jsonl")
    assert [one["message"].partition(": ")[2].split(":")[1] for one in errors] == ["2", "3", "4", "6"]
    assert errors[0]["raw_event"] == "{"
    assert json.loads(errors[1]["raw_event"])["bytes"] == "many"
    assert "'/bytes' should be integer" in errors[1]["message"]
    assert {one["meta"]["stream"] for one in errors} == {"page_edits.error"}
    assert (
        run(project, "page_edits", "--from", source, "--to", tmp_path / "out.jsonl", "--fail-on-errors").exit_code == 1
    )


def test_an_event_counts_at_its_receipt_if_that_is_earlier_and_is_refused_where_no_window_could_be(
    project: Path, tmp_path: Path
) -> None:
    ahead = edit(5, meta={"dt": "2026-01-31T12:01:30Z"}) | {"dt": "2026-02-01T12:00:00Z"}
    received = edit(6, meta={"dt": "2026-01-31T12:01:40Z"}) | {"dt": "9999-12-31T23:59:59Z"}
    far = [edit(7) | {"dt": "9999-12-31T23:59:59Z"}, edit(8) | {"dt": "0000-01-01T00:00:00Z"}]
    source = write(tmp_path / "in.jsonl", [edit(1), *far, ahead, received, edit(70)])
    errors = tmp_path / "errors.jsonl"
    result = run(project, "edits_per_minute", "--from", source, "--to", tmp_path / "out.jsonl", "--errors", errors)
    assert result.exit_code == 0, result.output
    rows = [(row["window_start"], row["edits"]) for row in read(tmp_path / "out.jsonl")]
    assert rows == [("2026-01-31T12:00:00Z", 1), ("2026-01-31T12:01:00Z", 3)]
    assert [(error["error_type"], error["message"].partition(": ")[0]) for error in read(errors)] == [
        ("INVALID_INPUT", "input")
    ] * len(far)


def test_repeats_canaries_and_events_of_other_streams_are_left_out_and_counted(project: Path, tmp_path: Path) -> None:
    others = [edit(5, meta={"stream": "demo.other"}), edit(6, meta={"domain": "canary"}), edit(1)]
    unnamed = edit(7)
    del unnamed["meta"]["stream"]
    source = write(tmp_path / "in.jsonl", [edit(1), edit(2), *others, unnamed])
    result = run(project, "page_edits", "--from", source, "--to", tmp_path / "out.jsonl", "--json")
    counts = json.loads(result.stdout)
    assert len(read(tmp_path / "out.jsonl")) == counts["written"] == 3
    assert (counts["duplicates"], counts["canaries"], counts["other_streams"]) == (1, 1, {"demo.other": 1})
    taken = run(project, "page_edits", "--from", f"demo.edit={source}", "--to", tmp_path / "all.jsonl", "--no-dedupe")
    assert taken.exit_code == 0
    assert len(read(tmp_path / "all.jsonl")) == 5


def test_several_files_a_directory_a_pattern_and_standard_input_are_one_input(project: Path, tmp_path: Path) -> None:
    day = tmp_path / "day"
    day.mkdir()
    events = [edit(number) for number in range(90)]
    write(day / "b.jsonl", events[:30])
    write(day / "a.jsonl.gz", events[30:])
    (day / "_SUCCESS").touch()
    text = "".join(f"{json.dumps(event)}\n" for event in events).encode()
    found = [
        run(project, "page_edits", "--from", day / "a.jsonl.gz", "--from", day / "b.jsonl", "--to", "-").stdout,
        run(project, "page_edits", "--from", day, "--to", "-").stdout,
        run(project, "page_edits", "--from", day / "*.json*", "--to", "-").stdout,
        run(project, "page_edits", "--from", "-", "--to", "-", stdin=text).stdout,
    ]
    assert len(set(found)) == 1
    assert len(found[0].splitlines()) == 90


def test_a_run_is_repeated_as_often_as_one_likes_with_the_same_ids(project: Path, tmp_path: Path) -> None:
    source, target = write(tmp_path / "in.jsonl", [edit(number) for number in range(5)]), tmp_path / "out.jsonl.gz"
    outcomes = []
    for _ in range(2):
        assert run(project, "page_edits", "--from", source, "--to", target).exit_code == 0
        outcomes.append(read(target))
    assert outcomes[0] == outcomes[1] != []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["page_edit", "--from", "{in}", "--to", "{out}"], 'Did you mean "page_edits"?'),
        (["page_edits", "--from", "{dir}/missing.jsonl", "--to", "{out}"], "There is no file"),
        (["page_edits", "--from", "{in}", "--to", "{in}"], "is part of the input"),
        (["page_edits", "--from", "{in}", "--to", "{dir}/no/out.jsonl"], "There is no directory"),
        (["page_edits", "--from", "{in}", "--to", "{out}", "--errors", "{out}"], "is named twice"),
        (["page_edits", "--from", "{in}", "--to", "{out}", "--late", "{dir}/late.jsonl"], "has no late stream"),
        (["page_edits", "--from", "{in}", "--to", "{out}", "--since", "noon"], "is not a time"),
        (["page_edits", "--from", "demo.edits={in}", "--to", "{out}"], "does not read a stream demo.edits"),
        (["page_edits", "--from", "{in}", "--to", "demo.page_edit=out.jsonl"], "writes no stream demo.page_edit"),
    ],
)
def test_a_mistake_is_said_and_nothing_is_written(
    project: Path, tmp_path: Path, arguments: list[str], said: str
) -> None:
    source = write(tmp_path / "in.jsonl", [edit(1)])
    places = {"in": source, "out": tmp_path / "out.jsonl", "dir": tmp_path}
    result = run(project, *[one.format(**places) for one in arguments])
    assert result.exit_code == 2
    assert said in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]
    assert read(source) == [edit(1)]


def test_a_broken_file_of_another_job_does_not_matter(tmp_path: Path) -> None:
    directory = tmp_path / "demo"
    write_project(directory)
    (directory / "jobs" / "broken.py").write_text("import no_such_module\n")
    source = write(tmp_path / "in.jsonl", [edit(1)])
    assert run(directory, "page_edits", "--from", source, "--to", tmp_path / "out.jsonl").exit_code == 0
    assert "no_such_module" in run(directory, "broken", "--from", source, "--to", tmp_path / "out.jsonl").stderr


SLOW = """
import time
from headwater.jobs import job

@job(source="demo.edit", sink="demo.page_edits:1.0.0", key=("wiki", "title"), state=int)
def slow(edit, context):
    time.sleep(0.0005)
    context.metrics.counter("seen")
    context.state += 1
    return {name: edit[name] for name in ("dt", "wiki", "title", "user")} | {"edits": context.state}
"""


def test_a_killed_run_resumes_and_ends_as_one_that_was_not_killed(tmp_path: Path) -> None:
    directory = tmp_path / "demo"
    write_project(directory)
    (directory / "jobs" / "slow.py").write_text(SLOW)
    events: list[Any] = [edit(number) for number in range(1_500)]
    events[700] = "no event"
    source = write(tmp_path / "in.jsonl", random.Random(5).sample(events, len(events)))
    results = ("--to", tmp_path / "whole.jsonl", "--errors", tmp_path / "e.jsonl")
    whole = run(directory, "slow", "--from", source, *results, "--json")
    assert whole.exit_code == 0, whole.output
    arguments = ["job", "run", "slow", "--project", directory, "--from", source, "--to", tmp_path / "out.jsonl"]
    command = [*HEADWATER, *map(str, arguments), "--errors", str(tmp_path / "errors.jsonl")]
    state = tmp_path / ".out.jsonl.run"
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    part = state / "result-0.part"
    # A second batch is there, so that the first one is committed.
    half = (tmp_path / "whole.jsonl").stat().st_size // 2
    while process.poll() is None and not (part.exists() and part.stat().st_size > half):
        time.sleep(0.01)
    process.kill()
    assert process.wait() != 0
    assert not (tmp_path / "out.jsonl").exists()
    ended = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    assert "is resumed" in ended.stderr
    # Of the whole input, not only of what was left.
    counted, expected = json.loads(ended.stdout), json.loads(whole.stdout)
    assert counted["resumed_after"] > 0
    for name in ("read", "written", "errors", "late", "counted"):
        assert counted[name] == expected[name], name
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert (tmp_path / "errors.jsonl").read_bytes() == (tmp_path / "e.jsonl").read_bytes()
    assert not state.exists()


FAILING = """
import asyncio
from headwater.jobs import Reject, Retry, job

@job(source="demo.edit", sink="demo.page_edits:1.0.0")
def at_once(edit, context):
    raise Reject("not accepted")

@job(source="demo.edit", sink="demo.page_edits:1.0.0", key="user", concurrency=8, retry=Retry(within="5s"))
async def later(edit, context):
    await asyncio.sleep(edit["bytes"] % 5 / 100)
    raise Reject("not accepted")

@job(source="demo.edit", sink="demo.page_edits:1.0.0", key="user", state=int)
def timed(edit, context):
    context.timer("soon", after="10s")

@timed.on_timer("soon")
def soon(context):
    raise Reject("not accepted")
"""


@pytest.mark.parametrize(("name", "seconds"), [("at_once", 0), ("later", 0), ("timed", 10)])
def test_over_history_an_error_happened_when_its_event_did(tmp_path: Path, name: str, seconds: int) -> None:
    directory = tmp_path / "demo"
    write_project(directory)
    (directory / "jobs" / "failing.py").write_text(FAILING)
    # Each by another user, so that each has its timer, and some are read far ahead of those that wait.
    events = [edit(number, bytes=7 * number, user=f"user {number}") for number in range(60)]
    source, errors = write(tmp_path / "in.jsonl", events), tmp_path / "errors.jsonl"
    result = run(directory, name, "--from", source, "--to", tmp_path / "out.jsonl", "--errors", errors)
    assert result.exit_code == 0, result.output
    times = {(time_ms(one["dt"]) or 0) + 1000 * seconds for one in events}
    found = read(errors)
    assert len(found) == len(times)
    assert {time_ms(one["dt"]) for one in found} == times
    assert {time_ms(one["meta"]["dt"]) for one in found} == times
    assert {time_ms(one["meta"]["failure"]["first_failed_at"]) for one in found} == times


def test_an_interrupted_run_of_something_else_is_not_resumed(project: Path, tmp_path: Path) -> None:
    source, target = write(tmp_path / "in.jsonl", [edit(1)]), tmp_path / "out.jsonl"
    state = tmp_path / ".out.jsonl.run"
    state.mkdir()
    (state / "run.json").write_text('{"job": "another"}')
    result = run(project, "page_edits", "--from", source, "--to", target)
    assert result.exit_code == 0
    assert "not resumed" in result.stderr
    assert len(read(target)) == 1


CAREFUL = """
from headwater.jobs import job
from ..titles import checked

@job(source="demo.edit", sink="demo.page_edits:1.0.0", on_error="stop")
def careful(edit, context):
    return {name: edit[name] for name in ("dt", "wiki", "user")} | {"title": checked(edit["title"]), "edits": 1}
"""
BROKEN, REPAIRED = "def checked(title):\n    raise ValueError('no title')\n", "def checked(title):\n    return title\n"


def test_a_changed_module_of_the_project_is_noticed_wherever_it_is(tmp_path: Path) -> None:
    directory = tmp_path / "demo"
    write_project(directory)
    (directory / "jobs" / "careful.py").write_text(CAREFUL)
    (directory / "titles.py").write_text(BROKEN)
    source, target = write(tmp_path / "in.jsonl", [edit(1)]), tmp_path / "out.jsonl"
    asked = ("careful", "--from", source, "--to", target, "--state", tmp_path / "state")
    for _ in range(2):
        stopped = run(directory, *asked)
        assert stopped.exit_code == 2, stopped.output
        assert "ValueError: no title (at demo.edit/0/0, event id-1)" in stopped.stderr
        assert not target.exists()
    (directory / "titles.py").write_text(REPAIRED)
    ended = run(directory, *asked)
    assert ended.exit_code == 0, ended.output
    assert len(read(target)) == 1


SEVERAL = """
from headwater.jobs import job

@job(source="demo.edit", sink="demo.page_edits:1.0.0", outputs=("demo.edits_per_minute:1.0.0",))
def several(edit, context):
    minute = {"dt": edit["dt"], "wiki": edit["wiki"], "window_start": edit["dt"]}
    context.emit({**minute, "edits": 1, "bot_edits": 0, "bytes": 1}, to="demo.edits_per_minute:1.0.0")
    return {name: edit[name] for name in ("dt", "wiki", "title", "user")} | {"edits": 1}
"""


def test_several_outputs_go_into_one_file_or_each_into_its_own(tmp_path: Path) -> None:
    directory = tmp_path / "demo"
    write_project(directory)
    (directory / "jobs" / "several.py").write_text(SEVERAL)
    source = write(tmp_path / "in.jsonl", [edit(number) for number in range(3)])
    day = tmp_path / "day=1"
    day.mkdir()
    assert run(directory, "several", "--from", source, "--to", day / "all.jsonl").exit_code == 0
    both = [one["meta"]["stream"] for one in read(day / "all.jsonl")]
    assert sorted(both) == ["demo.edits_per_minute"] * 3 + ["demo.page_edits"] * 3
    names = ("demo.edits_per_minute", "demo.page_edits")
    divided = [part for name in names for part in ("--to", f"{name}={tmp_path / name}.jsonl")]
    assert run(directory, "several", "--from", source, *divided).exit_code == 0
    for name in names:
        assert [one["meta"]["stream"] for one in read(tmp_path / f"{name}.jsonl")] == [name] * 3


COUNTING = """
from headwater.jobs import job

@job(source="demo.edit", sink="demo.edits_per_minute:1.0.0")
def counting(edit, context):
    context.metrics.counter("short titles", 2)
    context.metrics.counter("bytes", 0.5)
"""


def test_the_summary_has_what_the_functions_of_the_job_counted(tmp_path: Path) -> None:
    project = tmp_path / "demo"
    write_project(project)
    (project / "jobs" / "counting.py").write_text(COUNTING)
    source = write(tmp_path / "in.jsonl", [edit(number) for number in range(600)])
    named = ("--from", source, "--to", tmp_path / "out.jsonl")
    shown = [" ".join(line.split()) for line in run(project, "counting", *named).stderr.splitlines()]
    assert {"counted: short titles 1,200", "counted: bytes 300"} <= set(shown)
    counts = json.loads(run(project, "counting", *named, "--json").stdout)
    assert counts["counted"] == {"short titles": 1200, "bytes": 300}


def test_a_table_becomes_its_final_rows(project: Path, tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", [edit(number) for number in range(10)])
    assert run(project, "page_edits", "--from", source, "--to", tmp_path / "counts.jsonl").exit_code == 0
    result = run(
        project, "table.most_edited_pages", "--from", tmp_path / "counts.jsonl", "--to", tmp_path / "rows.jsonl"
    )
    assert result.exit_code == 0, result.output
    assert [(row["title"], row["edits"]) for row in read(tmp_path / "rows.jsonl")] == [
        ("page 0", 4),
        ("page 1", 3),
        ("page 2", 3),
    ]


def test_parquet_files_in_partitions_of_a_lake_are_read_and_written(project: Path, tmp_path: Path) -> None:
    events = [edit(number) for number in range(30)]
    lake = tmp_path / "lake"
    for hour in (2, 10):
        part = lake / "year=2026" / f"hour={hour}"
        part.mkdir(parents=True)
        write_parquet(write(tmp_path / "rows.jsonl", events[hour::3]), part / "part-0.parquet")
    columns = tmp_path / "old.parquet"
    columns_as = 'EXCLUDE ("$schema", dt), "$schema" AS _schema, dt::TIMESTAMP AS dt'
    rename = f"SELECT * {columns_as} FROM read_parquet('{part / 'part-0.parquet'}', hive_partitioning = false)"
    duckdb.sql(f"COPY ({rename}) TO '{columns}'")
    target = tmp_path / "out.parquet"
    result = run(project, "page_edits", "--from", lake, "--from", columns, "--to", target)
    assert result.exit_code == 0, result.output
    assert "left out: repeats" in result.stderr
    found = duckdb.sql(f"SELECT dt, title, edits, meta.stream FROM '{target}' ORDER BY dt").fetchall()
    chosen = sorted([*events[2::3], *events[10::3]], key=lambda one: one["dt"])
    assert [row[0] for row in found] == [one["dt"] for one in chosen]
    assert {row[3] for row in found} == {"demo.page_edits"}
    empty = run(project, "page_edits", "--from", write(tmp_path / "no.jsonl", []), "--to", tmp_path / "no.parquet")
    assert empty.exit_code == 0
    assert duckdb.sql(f"SELECT count(*) FROM '{tmp_path / 'no.parquet'}'").fetchall() == [(0,)]


def test_files_of_a_directory_are_read_in_natural_order(project: Path, tmp_path: Path) -> None:
    day = tmp_path / "day"
    day.mkdir()
    for number in (10, 2):
        write(day / f"part-{number}.jsonl", [edit(number, dt="2026-01-31T12:00:00Z", title=str(number))])
    result = run(project, "page_edits", "--from", day, "--to", "-")
    assert [json.loads(line)["title"] for line in result.stdout.splitlines()] == ["2", "10"]


def test_a_run_is_as_slow_as_it_is_asked_to_be(project: Path, tmp_path: Path) -> None:
    source = write(tmp_path / "in.jsonl", [edit(number) for number in range(60)])
    started = time.monotonic()
    result = run(project, "page_edits", "--from", source, "--to", tmp_path / "out.jsonl", "--rate", "100")
    assert result.exit_code == 0
    assert time.monotonic() - started >= 0.5
    assert len(read(tmp_path / "out.jsonl")) == 60


def test_bounds_of_memory_are_settings_and_a_run_that_could_not_begin_leaves_nothing(
    project: Path, tmp_path: Path
) -> None:
    source = write(tmp_path / "in.jsonl", [edit(number) for number in range(50)][::-1])
    for bound in ("2", "200000"):
        bounded = ("--set", f"jobs.history_sort_events_max={bound}")
        assert run(project, "page_edits", "--from", source, "--to", tmp_path / f"{bound}.out", *bounded).exit_code == 0
    assert (tmp_path / "2.out").read_bytes() == (tmp_path / "200000.out").read_bytes() != b""
    damaged = tmp_path / "dump.xml"
    damaged.write_text("<mediawiki>")
    assert run(project, "page_edits", "--from", damaged, "--to", tmp_path / "no.jsonl").exit_code == 2
    assert sorted(one.name for one in tmp_path.iterdir()) == ["2.out", "200000.out", "dump.xml", "in.jsonl"]
