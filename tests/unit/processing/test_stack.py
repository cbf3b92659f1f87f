"""Stacks and messages of jobs name the project's files and no path of the machine they ran on."""

from __future__ import annotations

import getpass
import importlib.util
import json
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from headwater.processing.stack import bare_stack_text, file_name, stack_text, without_paths, without_platform

JOB = """
import json
import sqlite3
from pathlib import Path

def reads_json(text):
    return json.loads(text)

def opens_database(path):
    sqlite3.connect(path)

def opens_file(path):
    return Path(path).read_text()

def wraps(path):
    try:
        opens_file(path)
    except OSError as error:
        raise RuntimeError(f"no rows at {path}") from error

def compiles(text, name):
    compile(text, name, "exec")

def groups(path):
    raise ExceptionGroup("several", [ValueError(f"one of {path}:12"), KeyError(path)])
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "edits.py").write_text(JOB, encoding="utf-8")
    return tmp_path


def loaded(project: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("edits_under_test", project / "jobs" / "edits.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def raised(call: Callable[[], object]) -> BaseException:
    try:
        call()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def test_a_stack_names_files_of_the_project_and_of_packages(project: Path) -> None:
    job = loaded(project)
    text = stack_text(raised(lambda: job.reads_json("{")), project)
    assert 'File "jobs/edits.py", line 7, in reads_json' in text
    assert "return json.loads(text)" in text
    assert 'File "python/json/decoder.py", line ' in text
    assert text.rstrip().endswith(
        "JSONDecodeError: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"
    )


@pytest.mark.parametrize("call", ["opens_file", "opens_database", "wraps", "groups"])
def test_no_path_of_the_machine_is_in_a_stack(project: Path, call: str) -> None:
    job = loaded(project)
    for path in (
        "/etc/hush/none.db",
        f"/home/{getpass.getuser()}/hush/none.db",
        str(project.parent / "hush" / "no ne.db"),
    ):
        error = raised(lambda path=path: getattr(job, call)(path))  # type: ignore[misc]
        for text in (stack_text(error, project), without_paths(str(error), project)):
            assert "hush" not in text.replace("'hush", ""), text
            assert str(project) not in text
            assert sys.prefix not in text
            assert str(Path(json.__file__).parent) not in text


def test_a_syntax_error_names_its_file_within_the_project(project: Path) -> None:
    job = loaded(project)
    error = raised(lambda: job.compiles("def (", str(project / "jobs" / "made.py")))
    text = stack_text(error, project)
    assert 'File "jobs/made.py", line 1' in text
    assert str(project) not in text


def test_files_in_messages_are_relative_to_the_project(project: Path) -> None:
    inside = project / "data" / "rows.csv"
    assert without_paths(f"[Errno 2] No such file: '{inside}'", project) == "[Errno 2] No such file: 'data/rows.csv'"
    assert without_paths(f"{inside}:3: bad row", project) == "data/rows.csv:3: bad row"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cannot open /home/ada/work/rows.db", "cannot open …/rows.db"),
        ("cannot open '/home/ada/my work/rows.db'", "cannot open '…/rows.db'"),
        ('"/home/ada"', '"…"'),
        ("in /" + "root/.cache", "in …"),
        ("sqlite:////var/lib/x/events.db is locked", "sqlite:///…/events.db is locked"),
        ("see file:///home/ada/notes/a.txt", "see file://…/a.txt"),
        ("/usr/lib/python3.12/site-packages/x/y.py:12: oops", "…/y.py:12: oops"),
        (r"C:\Users\ada\rows.db is open", "…/rows.db is open"),
        (r"'C:\Users\ada lovelace\rows.db'", "'…/rows.db'"),
        (r"'\\server\share\ada\rows.db'", "'…/rows.db'"),
        ("(/tmp/a/b/c), [/tmp/a/b/d]", "(…/c), […/d]"),
        # No paths of a machine.
        ("/demo/edit/1.0.0 has no field /meta/dt", "/demo/edit/1.0.0 has no field /meta/dt"),
        ("GET https://example.org/home/ada/x failed", "GET https://example.org/home/ada/x failed"),
        ("1/2 and a/b/c and ./x/y", "1/2 and a/b/c and ./x/y"),
        ("'/wiki/Main Page' is no title", "'/wiki/Main Page' is no title"),
        ("ratio 3/4, and/or", "ratio 3/4, and/or"),
        ("", ""),
    ],
)
def test_paths_of_a_machine_are_cut_to_their_last_name(text: str, expected: str) -> None:
    assert without_paths(text, Path("/srv/project")) == expected


def test_a_bare_stack_says_where_and_what_but_nothing_of_the_event(project: Path) -> None:
    job = loaded(project)
    secret = "sesame"
    error = raised(lambda: job.wraps(secret))
    assert "no rows at sesame" in str(error)
    text = bare_stack_text(error, project)
    assert 'File "jobs/edits.py"' in text
    assert text.endswith("RuntimeError")
    assert "no rows at sesame" not in text


@pytest.mark.parametrize("file", ["<string>", "<frozen importlib._bootstrap>"])
def test_what_is_no_file_keeps_its_name(file: str) -> None:
    assert file_name(file, Path("/srv/project")) == file


def test_files_of_packages_are_named_by_package() -> None:
    assert file_name("/opt/venv/lib/python3.12/site-packages/pkg/mod.py", None) == "pkg/mod.py"
    assert file_name("/opt/elsewhere/mod.py", None) == "mod.py"
    assert file_name(sqlite3.__file__, None) == "python/sqlite3/__init__.py"


OURS = """  File "headwater/jobs/apply.py", line 64, in each
    made = step.function(element.value, context)
           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "headwater/jobs/parts.py", line 9, in call
  [Previous line repeated 3 more times]
"""
THEIRS = """  File "jobs/edits.py", line 12, in edits
    raise ValueError("no title")
  File "requests/api.py", line 3, in get
    return one("  File \\"headwater/x.py\\"")
"""
HEAD, END = "Traceback (most recent call last):\n", "ValueError: no title"


@pytest.mark.parametrize(
    ("stack", "shown"),
    [
        (f"{HEAD}{OURS}{THEIRS}{END}", f"{HEAD}{THEIRS}{END}"),
        (f"{HEAD}{THEIRS}{OURS}{END}", f"{HEAD}{THEIRS}{END}"),
        (f"{HEAD}{OURS}{THEIRS}{END}\n\nDuring\n\n{HEAD}{OURS}{END}", f"{HEAD}{THEIRS}{END}\n\nDuring\n\n{HEAD}{END}"),
        # If there are no others, those of the platform are what there is.
        (f"{HEAD}{OURS}{END}", f"{HEAD}{OURS}{END}"),
        (END, END),
    ],
)
def test_a_stack_is_shown_without_the_functions_of_the_platform(stack: str, shown: str) -> None:
    assert without_platform(stack) == shown
