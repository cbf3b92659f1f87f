"""The page "From a laptop to a cluster" works as written: its commands are run, in their order, on a real Kafka."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from pathlib import Path

import pytest
from click.testing import CliRunner

from headwater.cli.init import write_project
from headwater.cli.main import main
from headwater.config import load_config
from headwater.log.contract import Log, Position
from headwater.platform import build

BLOCK = re.compile(r"^```(console|yaml)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def edit(number: int) -> dict[str, object]:
    return {
        "$schema": "/demo/edit/1.0.0",
        "meta": {"stream": "demo.edit", "id": f"edit-{number}"},
        "dt": "2026-01-31T12:00:00Z",
        "wiki": f"wiki{number % 3}",
        "title": f"Page {number % 10}",
        "user": "A",
        "bot": False,
        "bytes": number,
    }


def load(project: Path, numbers: range) -> None:
    file = project / f"{numbers.start}.jsonl"
    file.write_text("".join(json.dumps(edit(number)) + "\n" for number in numbers))
    result = CliRunner().invoke(main, ["log", "load", str(file), "--project", str(project)])
    assert result.exit_code == 0, result.output


async def edits(log: Log) -> list[tuple[object, ...]]:
    await log.open()
    try:
        position: Position = await log.first(["demo.edit"])
        found = []
        while records := await log.read(position):
            for record in records:
                position = position.after(record)
                found.append((record.partition, record.offset, record.timestamp_ms, record.key, record.value))
        return sorted(found, key=lambda one: one[:2])
    finally:
        await log.close()


def run_and_stop(project: Path) -> None:
    """What `headwater up` does, without the web."""

    async def once() -> None:
        platform = build(load_config(project))
        await platform.start(run_jobs=False)
        await platform.stop()

    asyncio.run(once())


def test_the_commands_of_the_page_move_a_project(
    repository: Path, tmp_path: Path, kafka_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "my-platform"
    write_project(project)
    run_and_stop(project)
    load(project, range(300))
    before = asyncio.run(edits(build(load_config(project)).log))
    server = f"{kafka_server}/{uuid.uuid4().hex[:12]}."
    page = (repository / "docs" / "how-to" / "from-laptop-to-cluster.md").read_text(encoding="utf-8")
    outputs: list[str] = []
    copies = 0
    monkeypatch.chdir(tmp_path)
    for language, text in BLOCK.findall(page.replace("kafka:9092", server)):
        if language == "yaml":
            path = project / "headwater.yaml"
            kept = [line for line in path.read_text().splitlines() if not line.startswith("log:")]
            path.write_text("\n".join([*kept, text]))
            continue
        for line in text.splitlines():
            for command in line.removeprefix("$ ").split(" && ") if line.startswith("$ ") else ():
                words = command.split()
                if words[0] == "cd":
                    monkeypatch.chdir(words[1])
                elif words[0] == "export":
                    monkeypatch.setenv(*words[1].split("=", 1))
                elif words[0] == "unset":
                    monkeypatch.delenv(words[1])
                elif words[:2] == ["headwater", "up"]:
                    run_and_stop(project)
                else:
                    if words[1:3] == ["log", "copy"] and (copies := copies + 1) == 2:
                        # The old server went on until it was stopped.
                        with monkeypatch.context() as context:
                            context.delenv("HEADWATER_LOG")
                            load(project, range(300, 340))
                            before = asyncio.run(edits(build(load_config(project)).log))
                    result = CliRunner().invoke(main, words[1:])
                    wanted = 2 if words[1] == "plan" and not outputs else 0
                    assert result.exit_code == wanted, f"{command}: {result.output}"
                    outputs.append(result.output)
    assert re.search(r"\+ create demo\.edit  partitions 2, retention 7d", outputs[0])
    assert copies == 3
    assert len(before) == 340
    moved = build(load_config(project))
    assert moved.config.log.url == f"kafka://{server}"
    assert asyncio.run(edits(moved.log)) == before
