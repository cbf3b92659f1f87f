"""`headwater sources rewind`: where a source begins again, what is printed first, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from end_to_end.logs import in_log
from headwater.cli.main import main
from headwater.config import load_config
from headwater.log.contract import Log
from headwater.platform import declarations
from headwater.processing.control import JobControl, Move

SSE = "connector: sse\nurl: http://127.0.0.1:9/v2/stream/recentchange\nstream: demo.edit\n"
FILE = "connector: jsonl\npath: in/*.jsonl\nstream: demo.edit\n"
TABLES = {"shop.orders": {"stream": "demo.edit", "columns": ["id"]}}
MARIADB = f"connector: mysql_cdc\nurl: ${{file:dsn}}\ntables: {json.dumps(TABLES)}\n"
HOOK = "connector: webhook\nsignature: none\nstream: demo.edit\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    made = tmp_path / "project"
    assert CliRunner().invoke(main, ["init", str(made)]).exit_code == 0
    (made / "sources").mkdir()
    for name, text in {
        "changes": SSE,
        "lines": FILE,
        "late": f"{FILE}start: newest\n",
        "hook": HOOK,
        "orders": MARIADB,
    }.items():
        (made / "sources" / f"{name}.yaml").write_text(text)
    (made / "dsn").write_text("mysql://somebody:hunter2@127.0.0.1:9/shop")
    return made


def rewind(project: Path, name: str, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["sources", "rewind", name, *arguments, "--project", str(project)])


def moved(project: Path, name: str) -> Move | None:
    """What the log asks the job of the source to do."""
    (job,) = [one for one in declarations(load_config(project))[1] if one.name == f"source.{name}"]

    async def asked(log: Log) -> Move | None:
        return (await JobControl(log, job, ()).read()).move

    found: Move | None = in_log(project, asked)
    return found


@pytest.mark.parametrize(
    ("name", "to", "asked", "begins"),
    [
        ("changes", "oldest", (0, None), "from the beginning"),
        ("changes", "2026-01-31T12:00:00Z", (1_769_860_800_000, None), "from 2026-01-31T12:00:00.000Z"),
        ("lines", "oldest", (None, None), "from the beginning"),
        ("orders", "0-1-1234", (None, "0-1-1234"), "from what follows 0-1-1234"),
    ],
)
def test_a_source_begins_again_once_somebody_has_agreed(
    project: Path, name: str, to: str, asked: tuple[int | None, str | None], begins: str
) -> None:
    shown = rewind(project, name, "--to", to)
    assert shown.exit_code == 2
    assert f"processes everything again {begins}." in shown.output
    assert "Nothing was changed." in shown.output
    assert moved(project, name) is None
    done = rewind(project, name, "--to", to, "--yes")
    assert done.exit_code == 0, done.output
    move = moved(project, name)
    assert move is not None
    assert (move.to_ms, move.position) == asked


@pytest.mark.parametrize(
    ("name", "to", "says"),
    [
        ("lines", "2026-01-31T12:00:00Z", "The connector jsonl of the source lines cannot begin at a time."),
        ("lines", "2026-01-31T12:00:00Z", "`headwater sources rewind lines --to oldest`"),
        ("late", "oldest", "has `start: newest`, and the connector jsonl cannot begin at a time."),
        ("late", "oldest", "Write `start: oldest`"),
        ("hook", "oldest", "reads nothing: its events are posted to the platform."),
        ("orders", "0-1", "'0-1' is not a global transaction id."),
        ("orders", "2026-01-31T12:00:00Z", "The connector mysql_cdc of the source orders cannot begin at a time."),
        ("changes", "noon", "'noon' is not a time"),
        ("chnges", "oldest", 'Did you mean "changes"?'),
    ],
)
def test_where_a_source_cannot_begin_is_refused_before_anything_is_asked_of_it(
    project: Path, name: str, to: str, says: str
) -> None:
    refused = rewind(project, name, "--to", to, "--yes")
    assert refused.exit_code != 0
    assert "hunter2" not in refused.output
    assert says in refused.output
    assert name in ("hook", "chnges") or moved(project, name) is None
