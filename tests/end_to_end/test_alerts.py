"""Alerts as a guide shows them: what a chat and Alertmanager get for the events of a stream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web
from click.testing import CliRunner

from end_to_end.edits import write_files
from headwater.cli.main import main
from headwater.config import load_config
from headwater.platform import build
from headwater.testing.eventually import eventually
from pages.following import blocks

GUIDE = "docs/how-to/send-alerts.md"


class Receiver:
    """A service that takes web hooks: what it got, by path."""

    def __init__(self) -> None:
        self.url = ""
        self.got: dict[str, list[Any]] = {}
        self.refuses = 0

    async def take(self, request: web.Request) -> web.Response:
        if self.refuses:
            self.refuses -= 1
            return web.Response(status=429, headers={"Retry-After": "1"})
        self.got.setdefault(request.path, []).append(orjson.loads(await request.read()))
        return web.Response(text="ok")


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    application = web.Application()
    application.router.add_post("/{path:.*}", receiver.take)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.url = "http://{}:{}".format(*runner.addresses[0][:2])
    yield receiver
    await runner.cleanup()


def alert(number: int, summary: str, severity: str = "critical") -> dict[str, Any]:
    meta = {"stream": "shop.alert", "id": f"alert-{number}", "dt": f"2026-01-31T12:00:0{number}Z"}
    return {"$schema": "/shop/alert/1.0.0", "meta": meta, "service": "shop", "severity": severity, "summary": summary}


async def test_each_thing_is_reported_once_to_a_chat_and_each_event_to_alertmanager(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {block.marks["file"]: block.text for block in blocks(GUIDE) if "file" in block.marks}
    started = CliRunner().invoke(main, ["init", str(tmp_path / "project")])
    assert started.exit_code == 0, started.output
    project = tmp_path / "project"
    files = {name: text.replace("http://127.0.0.1:9093", receiver.url) for name, text in files.items()}
    write_files(project, files)
    monkeypatch.setenv("CHAT_HOOK", f"{receiver.url}/hooks/s3cret")
    monkeypatch.chdir(project)
    for command in (["schema", "materialize", "shop/alert"], ["check"]):
        done = CliRunner().invoke(main, command)
        assert done.exit_code == 0, done.output

    platform = build(load_config(project, environment={}))
    await platform.start()
    try:
        receiver.refuses = 1
        await platform.intake.write(
            [alert(1, 'No "orders"'), alert(2, 'No "orders"'), alert(3, "Disk full", "warning")]
        )
        await eventually(lambda: sum(map(len, receiver.got.values())) >= 5)

        async def is_done() -> bool:
            reports = [one.runner.status.report() for name, one in platform.runners.items() if name.startswith("sink.")]
            return len(reports) >= 2 and all(report.read == 3 for report in reports)

        await eventually(is_done)
    finally:
        await platform.stop()
    chat = receiver.got["/hooks/s3cret"]
    assert sorted(message["text"] for message in chat) == ['critical: No "orders" (shop)', "warning: Disk full (shop)"]
    alerts = [one for alerts in receiver.got["/api/v2/alerts"] for one in alerts]
    assert sorted((one["labels"]["alertname"], one["startsAt"]) for one in alerts) == [
        ("Disk full", "2026-01-31T12:00:03Z"),
        ('No "orders"', "2026-01-31T12:00:01Z"),
        ('No "orders"', "2026-01-31T12:00:02Z"),
    ]
