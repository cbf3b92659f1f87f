"""`headwater job new`: what it writes passes the check of the project and its own tests, unchanged."""

from __future__ import annotations

import ast
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from headwater.cli.job.scaffold.code import literal
from headwater.cli.job.scaffold.kinds import KINDS, NEED_KEY
from headwater.cli.main import main

LONG = "a_name_that_is_as_long_as_the_name_of_a_job_is_allowed_to_be"
TIME = {"type": "string", "format": "date-time", "maxLength": 64}
# Schemas of sources that are not as those of new projects, by title.
ODD: dict[str, dict[str, Any]] = {
    "odd/no_time": {
        "additionalProperties": False,
        "properties": {"n": {"type": "number"}, "page-id": {"type": "integer"}, "events": {"type": "string"}},
        "examples": [{"n": 1, "page-id": 7, "events": 'it\'s "quoted" \\ ü\u2028'}],
    },
    "odd/nested": {
        "properties": {
            "at": TIME,
            "who": {"type": "object", "properties": {"name": {"type": ["string", "null"]}, "ids": {"type": "array"}}},
            "size": {"type": "number"},
        },
        "examples": [
            {"at": "2026-01-31T12:00:00Z", "who": {"name": "Ada", "ids": [1, [], {}]}, "size": 1.5e9, "nothing": None}
        ],
    },
    "odd/no_example": {"properties": {"dt": TIME}},
}
EVENT_TIMES = {"odd/no_time": "meta.dt", "odd/nested": "at", "odd/no_example": "dt"}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(main, ["init", "shop"]).exit_code == 0
    monkeypatch.chdir(tmp_path / "shop")
    return tmp_path / "shop"


def files(project: Path) -> list[Path]:
    """All but what Python itself keeps of the modules it has imported."""
    return sorted(path for path in project.rglob("*") if "__pycache__" not in path.parts)


def new(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["job", "new", *arguments])


def written(*arguments: str) -> None:
    result = new(*arguments)
    assert result.exit_code == 0, f"{arguments}: {result.output}"


def with_odd_sources(project: Path) -> None:
    """Streams of the schemas in ODD."""
    for title, schema in ODD.items():
        text = {"type": "string"}
        meta: dict[str, Any] = {"type": "object", "properties": {"stream": text, "id": text, "dt": TIME}}
        document = {
            "title": title,
            "$id": f"/{title}/1.0.0",
            "$schema": "http://json-schema.org/draft-07/schema#",
            "type": "object",
            **schema,
            "properties": {"$schema": text, "meta": meta, **schema["properties"]},
        }
        place = project / "schemas" / title
        place.mkdir(parents=True)
        for name in ("current", "1.0.0"):
            (place / f"{name}.yaml").write_text(json.dumps(document), encoding="utf-8")
        stream = {
            "apiVersion": "streams/v1",
            "kind": "Stream",
            "stream": title.replace("/", "."),
            "schema_title": title,
            "event_time": EVENT_TIMES[title],
            "docs": {"summary": "Odd.", "owner": "team:odd"},
        }
        (project / "streams" / f"{stream['stream']}.yaml").write_text(json.dumps(stream), encoding="utf-8")


@pytest.mark.slow
def test_what_is_written_has_no_errors_and_its_tests_pass_for_every_kind_and_source(project: Path) -> None:
    with_odd_sources(project)
    for kind in KINDS:
        key = ["--key", "wiki"] if kind in NEED_KEY else []
        written(f"{kind}_one", "--source", "demo.edit", "--kind", kind, *key)
    for kind in ("state", "window", "lookup", "sql", "table", "materialized"):
        two_keys = ["--key", "meta.domain", "--key", "bot"]
        written(f"{kind}_keys", "--source", "demo.edit", "--kind", kind, *two_keys)
        if kind != "sql":
            odd_keys = ["--key", "n", "--key", "page-id", "--key", "events"]
            written(f"{kind}_no_time", "--source", "odd.no_time", "--kind", kind, *odd_keys)
            # The key of a materialized table has no part that may be null, and no list.
            more = [] if kind == "materialized" else ["--key", "who.ids"]
            some = ["--key", "who.name", "--key", "size", *more]
            written(f"{kind}_nested", "--source", "odd.nested", "--kind", kind, *some)
    written("no_time", "--source", "odd.no_time")
    written("no_example", "--source", "odd.no_example")
    written("chained", "--source", "state_one", "--key", "wiki")
    written("versioned", "--source", "demo.edit", "--sink", "some.place.v2:1.0.0")
    written("Capital", "--source", "demo.edit")
    written(LONG, "--source", "demo.edit", "--kind", "lookup", "--key", "wiki")
    checked = CliRunner().invoke(main, ["check"])
    assert [line for line in checked.output.splitlines() if "schemas/odd" not in line and "  →" not in line][1:] == []
    assert Path("schemas/some/place/1.0.0.yaml").exists()
    for command in (
        ["pytest", "-q", "-p", "no:cacheprovider", "-p", "no:schemathesis", "-W", "ignore"],
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["ruff", "format", "--check", "--config", "line-length=120", "."],
        ["mypy", "--strict", "--cache-dir", "mypy", "jobs", "tests"],
    ):
        ran = subprocess.run(
            [sys.executable, "-m", *command], cwd=project, capture_output=True, text=True, timeout=100, check=False
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr


def test_a_key_makes_a_job_with_state_and_the_last_lines_name_the_next_step(project: Path) -> None:
    made = new("edits_by_user", "--source", "demo.edit", "--key", "user")
    assert made.exit_code == 0, made.output
    assert made.stdout.splitlines() == [
        "schemas/edits_by_user/current.yaml",
        "schemas/edits_by_user/1.0.0.yaml",
        "streams/edits_by_user.yaml",
        "jobs/edits_by_user.py",
        "tests/test_edits_by_user.py",
        "runbooks/edits_by_user.md",
    ]
    assert "`pytest tests/test_edits_by_user.py`" in made.stderr
    assert "docs/tutorials/" in made.stderr


def test_the_directories_are_those_of_the_project(project: Path) -> None:
    for name in ("jobs", "streams", "schemas"):
        (project / name).rename(project / f"my_{name}")
    text = (project / "headwater.yaml").read_text(encoding="utf-8")
    for name in ("jobs", "streams", "schemas"):
        text = text.replace(f"{name}: {name}", f"{name}: my_{name}")
    (project / "headwater.yaml").write_text(text, encoding="utf-8")
    settings = project / ".jsonschema-tools.yaml"
    settings.write_text(settings.read_text(encoding="utf-8").replace("./schemas", "./my_schemas"), encoding="utf-8")
    made = new("mine", "--source", "demo.edit")
    assert made.exit_code == 0, made.output
    assert "my_jobs/mine.py" in made.stdout
    assert {"my_streams/mine.yaml", "my_schemas/mine/1.0.0.yaml"} <= set(made.stdout.splitlines())
    assert not (project / "jobs").exists()


REFUSED: list[tuple[tuple[str, ...], str]] = [
    (("page_edits", "--source", "demo.edit"), "There is a job page_edits already."),
    (("Page_Edits", "--source", "demo.edit"), "There is a job Page_Edits already."),
    (
        ("edits_per_minute", "--source", "demo.edit", "--kind", "table", "--key", "wiki"),
        "There is a table edits_per_minute",
    ),
    (("mine", "--source", "demo.edit", "--sink", "demo.page_edits"), "There is a stream demo.page_edits already."),
    (("mine", "--source", "demo.edit", "--sink", "Demo.Page_Edits"), "use lower-case letters"),
    (("mine", "--source", "demo.edit", "--sink", "demo.edit.v3"), "exists already"),
    (("mine", "--source", "demo.edit", "--sink", "a/b"), "cannot be the name of a new stream"),
    (("mine", "--source", "demo.edit", "--sink", "../b"), "cannot be the name of a new stream"),
    (("mine", "--source", "demo.edit", "--sink", "größe"), "cannot be the name of a new stream"),
    (("mine", "--source", "demo.edit", "--sink", "1st.place"), "cannot be the title of a schema"),
    (("mine", "--source", "demo.edit", "--sink", "con"), "con"),
    (("mine", "--source", "demo.edit", "--sink", "shop.2"), "or shop.totals.v2"),
    (("mine", "--source", "demo.edti"), 'Did you mean "demo.edit"?'),
    (("mine",), "demo.edit, demo.edits_per_minute, demo.page_edits"),
    (("not-a-name", "--source", "demo.edit"), "Such as not_a_name."),
    (("Seitengröße", "--source", "demo.edit"), "Such as seitengr_e."),
    (("2nd", "--source", "demo.edit"), "Such as job_2nd."),
    (("class", "--source", "demo.edit"), "Such as class_job."),
    (("../jobs", "--source", "demo.edit"), "Such as jobs."),
    (("sql_job", "--source", "demo.edit"), "Such as my_sql_job."),
    (("Context", "--source", "demo.edit"), "Such as my_context."),
    (("_hidden", "--source", "demo.edit"), "Such as hidden."),
    (("", "--source", "demo.edit"), "cannot be the name of a Python function"),
    ((f"{LONG}_", "--source", "demo.edit"), "at most 60 characters"),
    (("mine", "--source", "demo.edit", "--key", "nothing"), "It has: "),
    (("mine", "--source", "demo.edit", "--key", "titel"), 'Did you mean "title"?'),
    (("mine", "--source", "demo.edit", "--key", "wiki."), "is the path of a field"),
    (("mine", "--source", "demo.edit", "--key", "wiki", "--key", "wiki"), "each named once"),
    (("mine", "--source", "demo.edit", "--kind", "window"), "needs --key"),
    (("mine", "--source", "demo.edit", "--kind", "function", "--key", "wiki"), "of the kind state"),
    (("mine", "--source", "demo.edit", "--kind", "table", "--key", "wiki", "--sink", "x"), "has no --sink"),
    (("mine", "--source", "odd.nested", "--kind", "sql"), "has no dt"),
    (("mine", "--source", "page_edits.error"), ""),
]


def test_what_cannot_be_made_is_refused_and_nothing_is_written(project: Path) -> None:
    with_odd_sources(project)
    before = files(project)
    for arguments, why in REFUSED:
        refused = new(*arguments)
        assert (refused.exit_code in (1, 2), why in refused.output) == (True, True), f"{arguments}: {refused.output}"
        assert files(project) == before, arguments


@pytest.mark.parametrize(
    "file", ["jobs/mine.py", "tests/test_mine.py", "runbooks/mine.md", "schemas/mine/current.yaml"]
)
def test_a_file_that_is_there_is_kept_and_nothing_is_written(project: Path, file: str) -> None:
    place = project / file
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("# mine", encoding="utf-8")
    before = files(project)
    refused = new("mine", "--source", "demo.edit")
    assert refused.exit_code in (1, 2)
    assert "exists already" in refused.output
    assert files(project) == before
    assert place.read_text(encoding="utf-8") == "# mine"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda members: st.lists(members, max_size=3) | st.dictionaries(st.text(), members, max_size=3),
    max_leaves=10,
)


@given(JSON)
def test_any_example_is_written_as_python_that_has_its_value(value: Any) -> None:
    read = ast.literal_eval(literal(value, 0))
    assert json.dumps(read) == json.dumps(value)
    assert not isinstance(value, float) or math.copysign(1, read) == math.copysign(1, value)
