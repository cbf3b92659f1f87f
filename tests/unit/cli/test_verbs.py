"""The command line as people meet it: help with examples, quick starts, errors that say what to do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import orjson
import pytest
from click.testing import CliRunner

from headwater.cli.console import called_as
from headwater.cli.main import VERBS, main
from headwater.cli.verbs import Verbs
from pages.commands import problem_of

RUNNER = CliRunner()


def _commands(verb: str) -> list[tuple[str, click.Command]]:
    """The verb, or the verbs below it if it is a group."""
    assert isinstance(main, click.Group)
    command = main.get_command(click.Context(main), verb)
    assert command is not None
    if not isinstance(command, click.Group):
        return [(verb, command)]
    context = click.Context(command)
    inner = [(f"{verb} {name}", command.get_command(context, name)) for name in command.list_commands(context)]
    return [(name, one) for name, one in inner if one is not None]


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_every_verb_shows_an_example_of_it(verb: str) -> None:
    for name, command in _commands(verb):
        text = RUNNER.invoke(main, [*name.split(), "--help"]).output
        assert f"headwater {name}" in text.split("Options:")[1], "an example stands after the options"
        assert all(option.help for option in command.params if isinstance(option, click.Option))


def test_help_lists_every_verb_and_imports_none_of_them() -> None:
    script = (
        "import sys; from headwater.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([name for name in ('rich', 'httpx', 'starlette', 'duckdb', 'headwater.config') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert run.stdout.splitlines()[-1] == "[]"
    assert all(verb in run.stdout for verb in VERBS)


def test_a_mistyped_verb_is_answered_with_the_nearest() -> None:
    result = RUNNER.invoke(main, ["repaly"])
    assert (result.exit_code, "Did you mean 'replay'?" in result.output) == (2, True)


@pytest.mark.parametrize("group", [(), ("job",)])
def test_what_people_look_for_leads_to_the_verb_that_there_is(group: tuple[str, ...]) -> None:
    command: click.Command = main
    for name in group:
        assert isinstance(command, click.Group)
        command = command.get_command(click.Context(command), name) or main
    assert isinstance(command, Verbs)
    assert not set(command.other_words) & set(command.list_commands(click.Context(command)))
    for word, verb in command.other_words.items():
        assert problem_of(verb.split()) is None
        looked = CliRunner().invoke(main, [*group, word, "page_edits"])
        assert (looked.exit_code, f"`headwater {verb} --help`" in looked.output) == (2, True)


def test_an_operators_mistake_is_one_line_and_a_hint_and_exit_code_2(tmp_path: Path) -> None:
    result = RUNNER.invoke(main, ["up", "--project", str(tmp_path)])
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        f"Error: {tmp_path} has no headwater.yaml.",
        "  → Create a project with `headwater init NAME`, or name one with --project.",
    ]


def test_debug_shows_the_traceback_instead(tmp_path: Path) -> None:
    result = RUNNER.invoke(main, ["--debug", "up", "--project", str(tmp_path)])
    assert type(result.exception).__name__ == "ConfigInvalid"


def test_a_server_that_is_not_there_is_said_to_be_not_there() -> None:
    result = RUNNER.invoke(main, ["produce", "--to", "http://127.0.0.1:9", "--patience", "0.1", "wiki=enwiki"])
    assert result.exit_code == 1
    assert "did not accept the events" in result.stderr
    assert "headwater up" in result.stderr


def test_a_taken_port_is_said_to_be_taken(tmp_path: Path) -> None:
    import socket

    RUNNER.invoke(main, ["init", str(tmp_path / "mine")])
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = RUNNER.invoke(main, ["up", "--project", str(tmp_path / "mine"), "--port", str(port)])
    assert (result.exit_code, f"Port {port} of 127.0.0.1 is in use." in result.stderr) == (2, True)


# ---- init and check ------------------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path) -> Path:
    result = RUNNER.invoke(main, ["init", str(tmp_path / "mine")])
    assert result.exit_code == 0
    return tmp_path / "mine"


def _problems(project: Path) -> list[dict[str, object]]:
    result = RUNNER.invoke(main, ["check", "--project", str(project), "--json"])
    problems = [orjson.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == (1 if problems else 0), result.output
    return problems


def test_a_new_project_passes_its_check_and_says_what_comes_next(project: Path) -> None:
    assert _problems(project) == []
    text = (project / "README.md").read_text(encoding="utf-8")
    assert all(
        command in text for command in ("headwater check", "headwater up", "headwater produce", "headwater tail")
    )


@pytest.mark.parametrize(
    ("called", "on_path", "printed"),
    [
        ("bin/headwater", None, "bin/headwater"),
        ("bin/headwater", "bin", "headwater"),
        ("bin/headwater", "other", "bin/headwater"),
        ("a dir/headwater", None, "'a dir/headwater'"),
        # As `python -m` and tests call it: by no name of a file that could be typed.
        ("-c", None, "headwater"),
        ("src/headwater/cli/__main__.py", None, "headwater"),
    ],
)
def test_a_command_that_is_printed_works_in_the_shell_it_is_printed_in(
    called: str, on_path: str | None, printed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("bin", "other", "a dir"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "headwater").write_text("#!/bin/sh\n")
        (tmp_path / place / "headwater").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / on_path) if on_path else "")
    monkeypatch.setattr(sys, "argv", [called])
    assert called_as() == printed
    elsewhere = called_as(elsewhere=True)
    assert elsewhere == printed if printed == "headwater" else Path(elsewhere.strip("'")).is_absolute()


def test_init_leaves_a_directory_with_something_in_it_alone(project: Path) -> None:
    result = RUNNER.invoke(main, ["init", str(project)])
    assert (result.exit_code, "is not empty" in result.stderr) == (2, True)


def test_check_names_file_line_and_the_nearest_key(project: Path) -> None:
    path = project / "streams" / "demo.edit.yaml"
    text = path.read_text(encoding="utf-8").replace("schema_title:", "schema_titel:")
    path.write_text(text, encoding="utf-8")
    line = text.splitlines().index("schema_titel: demo/edit") + 1
    (problem,) = [one for one in _problems(project) if one["file"] == "streams/demo.edit.yaml"]
    assert problem["line"] == line
    assert "schema_title" in str(problem["hint"])


def test_check_finds_a_schema_title_that_no_schema_has(project: Path) -> None:
    path = project / "streams" / "demo.edit.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("demo/edit", "demo/edits"), encoding="utf-8")
    (problem,) = _problems(project)
    assert problem["file"] == "streams/demo.edit.yaml"
    assert 'Did you mean "demo/edit"?' in str(problem["hint"])


def test_check_finds_a_key_made_of_a_field_the_schema_lacks(project: Path) -> None:
    path = project / "streams" / "demo.edit.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("{wiki: wiki}", "{wiki: wiki_id}"), encoding="utf-8")
    (problem,) = _problems(project)
    assert "wiki_id" in str(problem["message"])


def test_check_finds_a_schema_that_does_not_compile(project: Path) -> None:
    path = project / "schemas" / "demo" / "edit" / "1.0.0.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("type: boolean", "type: bolean"), encoding="utf-8")
    assert "schemas/demo/edit/1.0.0.yaml" in [one["file"] for one in _problems(project)]


def test_check_finds_the_line_of_a_job_that_does_not_load(project: Path) -> None:
    path = project / "jobs" / "edits.py"
    path.write_text(path.read_text(encoding="utf-8") + "\nundefined_name\n", encoding="utf-8")
    (problem,) = _problems(project)
    assert (problem["file"], problem["line"]) == ("jobs/edits.py", len(path.read_text(encoding="utf-8").splitlines()))


def test_check_finds_a_job_that_reads_a_stream_nobody_declared(project: Path) -> None:
    path = project / "jobs" / "edits.py"
    path.write_text(
        path.read_text(encoding="utf-8").replace('source="demo.page_edits"', 'source="demo.page_edit"'),
        encoding="utf-8",
    )
    (problem,) = _problems(project)
    assert "demo.page_edit" in str(problem["message"])
