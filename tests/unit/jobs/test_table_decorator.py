"""Loading `@table`: names, keys and types are validated, at the line, with the nearest name."""

from __future__ import annotations

from pathlib import Path

import pytest

from headwater.errors import ConfigInvalid, JobInvalid
from headwater.jobs.flow import in_order_of_flow, origins
from headwater.jobs.loader import load_jobs

HEAD = "from headwater.jobs import job, table\n\n"
GOOD = """
@table(source="edits", key=("wiki", "page.id"), version="rev.id")
def pages(event):
    "The pages."
    return {"title": event["title"]}
"""


def load(tmp_path: Path, text: str, **others: str) -> list[str]:
    folder = tmp_path / "jobs"
    folder.mkdir(exist_ok=True)
    (folder / "tables.py").write_text(HEAD + text)
    for name, content in others.items():
        (folder / f"{name}.py").write_text(HEAD + content)
    return [one.name for one in load_jobs(folder, tmp_path)]


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ('@table(source="edits")\ndef t(e): pass', 3, "`key` is missing"),
        ('@table(key="k")\ndef t(e): pass', 3, "`source` is missing"),
        ('@table(source=5, key="k")\ndef t(e): pass', 3, "`source` is the name of a stream"),
        ('@table(source="edits",\n  key="a..b")\ndef t(e): pass', 4, "`key` is a dotted path"),
        ('@table(source="edits", key=None)\ndef t(e): pass', 3, "`key` is a dotted path"),
        ('@table(source="edits", key=())\ndef t(e): pass', 3, "`key` is a dotted path"),
        ('@table(source="edits",\n key="k", verson="v")\ndef t(e): pass', 4, "did you mean `version`?"),
        ('@table(source="edits",\n key="k",\n version=5)\ndef t(e): pass', 5, "`version` is a dotted path"),
        ('@table(source="edits", key="k", version=lambda: 1)\ndef t(e): pass', 3, "`version` is a function (event)"),
        ('@table(source="edits", key="k", delete=True)\ndef t(e): pass', 3, "`delete` is a function (event)"),
        ('@table(source="edits", key="k", delete=lambda a, b: 1)\ndef t(e): pass', 3, "`delete` is a function (event)"),
        ('@table(source="edits", key="k", where=1)\ndef t(e): pass', 3, "`where` is a function (event)"),
        ('@table(source="edits", key="k", name=5)\ndef t(e): pass', 3, "`name` is text"),
        ('@table(source="edits", key="k", name="a b")\ndef t(e): pass', 3, "'a b' cannot name a job"),
        ('@table(source="edits", key="k", replaces=1)\ndef t(e): pass', 3, "`replaces` is a function (event)"),
        ('@table(source="edits", key="k", on_error="x")\ndef t(e): pass', 3, "`on_error` is 'error_event' or"),
        ('@table(source="edits", key="k", tables=5)\ndef t(e): pass', 3, "`tables` is a name, or a list of names"),
        ('@table(source="edits", key="k", tombstone_ttl="1d")\ndef t(e): pass', 3, "is about deleted rows"),
        (
            '@table(source="edits", key="k", delete=bool, tombstone_ttl=0)\ndef t(e): pass',
            3,
            "`tombstone_ttl` is longer than 0",
        ),
        (
            '@table(source="edits", key="k", delete=bool, tombstone_ttl="4000d")\ndef t(e): pass',
            3,
            "at most 3,650d",
        ),
        (
            '@table(source="edits", key="k", delete=bool, tombstone_ttl="soon")\ndef t(e): pass',
            3,
            "`tombstone_ttl`: ",
        ),
        ('@table(source=("a", "b"), key={"a": "k"})\ndef t(e): pass', 3, "`key` is missing for the source b"),
        ('@table(source=("a", "b"), key={"a": "k", "c": "k"})\ndef t(e): pass', 3, "which the job does not read"),
        ('@table(source=("a", "b"), key={"a": "k", "b": ("k", "l")})\ndef t(e): pass', 3, "another number of parts"),
        ('@table(source=("a", "b"), key={"a": "k", "b": ("k",)})\ndef t(e): pass', 3, "a list for one source"),
        ('@table(source="edits", key="k")\nasync def t(e): pass', 3, "not `async`"),
        ('@table(source="edits", key="k")\ndef t(): pass', 3, "function (event, context)"),
        ('@table(source="edits", key="k")\ndef t(a, b, c): pass', 3, "function (event, context)"),
        ('table(source="edits", key="k")(5)', 3, "function (event, context), not 5"),
        ("@table\ndef t(e): pass", 3, "all arguments have names"),
        ('@table("t", source="edits", key="k")\ndef t(e): pass', 3, "all arguments have names"),
        ('table("t", source="edits")', 3, "`columns` is missing"),
        (f"{GOOD}\n{GOOD.replace('pages', 'pages2')}\npages2.then()", 15, "keeps a table"),
    ],
)
def test_what_is_wrong_is_reported_at_its_line(text: str, line: int, said: str, tmp_path: Path) -> None:
    with pytest.raises(JobInvalid) as refused:
        load(tmp_path, text)
    assert said in f"{refused.value.detail} {refused.value.hint}"
    assert (refused.value.file, refused.value.line) == ("jobs/tables.py", line)


def test_the_parts_of_a_key_are_named_after_its_paths(tmp_path: Path) -> None:
    text = """
@table(source="a", key=("wiki", "page.id"))
def two(event): return {}
@table(source="a", key=("page.id", "user.id"))
def clashing(event): return {}
@table(source="a", key="page.id")
def single(event): return {}
@table(source="a", key=("page.id",))
def listed(event): return {}
@table(source="a", key=lambda event: event["k"])
def made(event): return {}
@table(source=("a", "b"), key={"a": ("wiki", "id"), "b": ("database", "page_id")})
def by_stream(event): return {}
"""
    load(tmp_path, text)
    found = {one.name: one.materialized for one in load_jobs(tmp_path / "jobs", tmp_path)}
    assert {name: (one.key_names, one.key_is_list) for name, one in found.items() if one is not None} == {
        "two": (("wiki", "id"), True),
        "clashing": (("page_id", "user_id"), True),
        "single": (("id",), False),
        "listed": (("id",), True),
        "made": ((), True),
        "by_stream": (("wiki", "id"), True),
    }


def test_a_name_and_columns_still_fill_a_table_of_a_database(tmp_path: Path) -> None:
    text = """
one = table("one", source="a", columns={"x": "text"})
two = table(name="two", source="a", columns={"x": "text"})
"""
    assert load(tmp_path, text) == ["table.one", "table.two"]


def test_no_two_tables_have_one_name(tmp_path: Path) -> None:
    with pytest.raises(JobInvalid, match="The table pages is filled by another job"):
        load(tmp_path, GOOD, other='filled = table("pages", source="a", columns={"x": "text"})')


READER = """
@job(source="edits", sink="out")
def reading(event, context):
    return context.table("{name}").get(1)
"""


def test_a_table_that_no_job_keeps_is_refused_with_the_nearest_at_the_job(tmp_path: Path) -> None:
    with pytest.raises(JobInvalid) as refused:
        load(tmp_path, GOOD, reading=READER.format(name="page"))
    assert refused.value.detail == "The job reading: There is no materialized table 'page'."
    assert refused.value.hint == "Did you mean 'pages'?"
    assert (refused.value.file, refused.value.line) == ("jobs/reading.py", 4)


def test_a_table_of_a_database_is_no_materialized_one(tmp_path: Path) -> None:
    with pytest.raises(JobInvalid, match="no materialized table 'rows'"):
        load(tmp_path, 'filled = table("rows", source="a", columns={"x": "text"})', reading=READER.format(name="rows"))


def test_where_another_file_is_broken_its_tables_may_be_read(tmp_path: Path) -> None:
    refused: list[ConfigInvalid] = []
    folder = tmp_path / "jobs"
    folder.mkdir()
    (folder / "broken.py").write_text("syntax error")
    (folder / "reading.py").write_text(HEAD + READER.format(name="pages"))
    assert [one.name for one in load_jobs(folder, tmp_path, refused.append)] == ["reading"]
    assert len(refused) == 1


def test_a_method_table_of_another_object_is_no_reason_to_refuse_a_job(tmp_path: Path) -> None:
    text = '@job(source="a", sink="b")\ndef parsing(event, context):\n    return event["html"].table("anything")\n'
    assert load(tmp_path, text) == ["parsing"]
    assert load_jobs(tmp_path / "jobs", tmp_path)[0].tables == ()


def test_jobs_run_after_those_whose_tables_they_read_and_their_events_come_from_there(tmp_path: Path) -> None:
    load(tmp_path, GOOD.replace('source="edits"', 'source="out"') + READER.format(name="pages"))
    jobs = load_jobs(tmp_path / "jobs", tmp_path)
    # The table is made of what its reader writes: streams decide.
    assert [one.name for one in in_order_of_flow(jobs)] == ["reading", "pages"]
    load(tmp_path, READER.format(name="pages") + GOOD.replace('source="edits"', 'source="secret"'))
    jobs = load_jobs(tmp_path / "jobs", tmp_path)
    assert [one.name for one in in_order_of_flow(jobs)] == ["pages", "reading"]
    assert origins(jobs[0], jobs) == ("edits", "secret")
    assert [one.tables for one in jobs] == [("pages",), ()]
