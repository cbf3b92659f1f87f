"""The watch over a whole platform: canaries through the real intake, hours, counts, the API, the verbs and the page."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from headwater.cli.main import main
from headwater.config import load_config
from headwater.consumption.hub import StreamRequest
from headwater.consumption.subscription import Subscription
from headwater.monitoring.canary_event import is_canary
from headwater.monitoring.canary_sender import HOPS
from headwater.monitoring.hourly_counts import HourlyCounts
from headwater.monitoring.hours import HOUR_MS
from headwater.platform import Platform, build
from headwater.streams.stream import Stream
from headwater.testing.eventually import eventually
from headwater.web.server import serving

TEMPLATE = Path(__file__).resolve().parents[2] / "src" / "headwater" / "cli" / "template"
CANARY = "monitor: {canary: {enabled: true, period: 1s, required_within: 5s}}\n"
PREFIXED = "stream: notes\nschema_title: demo/edit\nproduce: {destination_event_service: main}\n" + CANARY
EDIT: dict[str, Any] = {
    "$schema": "/demo/edit/1.0.0",
    "meta": {"stream": "demo.edit"},
    "dt": "2023-11-14T20:00:01Z",
    "wiki": "enwiki",
    "title": "River",
    "user": "Ada",
    "bot": False,
    "bytes": 10,
}
SETTINGS = {"monitoring.count_interval_seconds": 0.2, "web.port": 0}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    made = shutil.copytree(TEMPLATE, tmp_path / "project")
    # The canaries of the template are too far apart for tests.
    for file in (made / "streams").glob("*.yaml"):
        file.write_text(file.read_text().partition("produce:")[0])
    file = made / "streams" / "demo.edit.yaml"
    file.write_text(file.read_text() + "produce: {destination_event_service: main}\n" + CANARY)
    (made / "streams" / "notes.yaml").write_text(PREFIXED + "transport: {topic_prefixes: [eqiad., codfw.]}\n")
    return made


async def started(project: Path, **settings: Any) -> Platform:
    platform = build(load_config(project, environment={}, overrides={**SETTINGS, **settings}))
    await platform.start()
    return platform


@pytest.fixture
async def platform(project: Path) -> AsyncIterator[Platform]:
    platform = await started(project)
    yield platform
    await platform.stop()


def conditions(platform: Platform) -> dict[str, str]:
    return {one.name: one.condition for one in platform.monitor.streams()}


async def canaries_in(platform: Platform, topic: str) -> int:
    records = await platform.log.read(await platform.log.first([topic]), records_max=1000)
    return sum(is_canary(record.value) for record in records)


def received(book: HourlyCounts, topic: str, hour: int) -> int:
    """Events received in an hour, canaries apart."""
    total = book.counts.topic_total(topic, hour)
    return total.received - total.canaries


async def test_canaries_reach_every_topic_by_themselves_and_pass_every_hop(platform: Platform) -> None:
    topics = ("demo.edit", "eqiad.notes", "codfw.notes")
    await eventually(lambda: len(platform.monitor.canaries.tracks) == 3)
    await eventually(lambda: all(set(HOPS) <= set(one.passed) for one in platform.monitor.canaries.tracks.values()))
    assert {topic for _, topic in platform.monitor.canaries.tracks} == set(topics)
    assert [await canaries_in(platform, topic) > 0 for topic in topics] == [True] * 3
    await eventually(lambda: platform.monitor.book.topic("codfw.notes").last_canary_ms)
    assert (conditions(platform)["notes"], conditions(platform)["demo.page_edits"]) == ("idle", "unwatched")
    await platform.intake.write([EDIT])
    await eventually(lambda: conditions(platform)["demo.edit"] == "live")


async def test_jobs_tables_and_consumers_drop_canaries_and_their_hop_is_known(platform: Platform) -> None:
    monitor = platform.monitor
    await eventually(lambda: monitor.canaries.tracks)
    track = monitor.canaries.tracks["demo.edit", "demo.edit"]
    journey = await monitor.canaries.send(("demo.edit", "demo.edit"))
    assert journey.error is None
    jobs = {f"job:{job.name}" for job in platform.jobs if "demo.edit" in job.sources}
    assert jobs
    await eventually(lambda: all(monitor.canaries.hops(track)[hop] for hop in jobs))

    async def has_empty_tables() -> bool:
        return [view.rows_total for view in await platform.read_tables(10)] == [0] * len(platform.tables)

    await eventually(has_empty_tables)
    stream = platform.streams.get("demo.edit")
    given = await Subscription(platform.log, [stream], start=await platform.log.first(stream.topics)).next()
    assert given is not None
    assert given.events == []
    wanted = StreamRequest((stream,), since="2020-01-01T00:00:00Z", form="json")
    connection = await platform.hub.connect(wanted)
    assert b"canary" not in await connection.reader.next()
    await platform.hub.disconnect(connection)


async def test_a_failing_intake_is_distinguished_from_a_stream_without_traffic(project: Path) -> None:
    (project / "streams" / "services.yaml").write_text("main: {}\naway: {eqiad: 'http://127.0.0.1:9'}\n")
    (project / "streams" / "far.yaml").write_text(
        PREFIXED.replace("notes", "far").replace("main", "away") + "transport: {topic_prefixes: [eqiad.]}\n"
    )
    platform = await started(project)
    try:
        await eventually(lambda: conditions(platform)["far"] == "broken" and conditions(platform)["notes"] == "idle")
        (far,) = [one for one in platform.monitor.streams() if one.name == "far"]
        assert "None has arrived in eqiad.far" in far.reason
        labels = {"stream": "far", "prefix": "eqiad."}
        assert platform.telemetry.value("headwater_canary_up", labels) == 0
        assert platform.telemetry.value("headwater_canary_up", {**labels, "stream": "notes"}) == 1
        # They stop to arrive where they did: after the time they are required in it is an alarm.
        await platform.monitor.canaries.stop()
        track = platform.monitor.canaries.tracks["notes", "eqiad.notes"]
        track.passed = {hop: sent - 6_000 for hop, sent in track.passed.items()}
        assert conditions(platform)["notes"] == "broken"
        assert platform.telemetry.value("headwater_canary_age_seconds", {**labels, "stream": "notes", "hop": "log"}) > 5
    finally:
        await platform.stop()


async def test_streams_whose_canaries_are_impossible_are_reported(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    schema = project / "schemas" / "demo" / "bad" / "1.0.0.yaml"
    schema.parent.mkdir(parents=True)
    text = (project / "schemas" / "demo" / "edit" / "1.0.0.yaml").read_text().replace("demo/edit", "demo/bad")
    schema.write_text(
        text[: text.index("examples:")] + "examples: [{$schema: /demo/bad/1.0.0, meta: {}, bytes: many}]\n"
    )
    (project / "streams" / "bad.yaml").write_text(PREFIXED.replace("notes", "bad").replace("demo/edit", "demo/bad"))
    (project / "streams" / "lost.yaml").write_text(PREFIXED.replace("notes", "lost").replace("demo/edit", "gone"))
    platform = await started(project)
    try:
        await eventually(lambda: len(platform.monitor.canaries.impossible) == 2)
        reasons = {one.name: one.reason for one in platform.monitor.streams() if one.condition == "impossible"}
        assert "first example of its schema is not valid" in reasons["bad"]
        assert "No schema has the title gone" in reasons["lost"]
        assert platform.telemetry.value("headwater_canary_impossible", {"stream": "bad"}) == 1
        told = [one.getMessage() for one in caplog.records if "declares canaries it cannot have" in one.getMessage()]
        assert {" ".join(one.split()[:2]) for one in told} <= {"bad declares", "lost declares"}
        assert len(told) == 2 or "applies to 1 more" in told[0]
    finally:
        await platform.stop()


async def test_a_change_of_the_streams_is_followed_without_a_restart(platform: Platform) -> None:
    await eventually(lambda: ("notes", "codfw.notes") in platform.monitor.canaries.tracks)
    await platform.control.change(platform.control.kill("notes", "ada", "a test"))
    await eventually(lambda: ("notes", "codfw.notes") not in platform.monitor.canaries.tracks)
    assert conditions(platform)["notes"] == "unwatched"


async def test_with_several_processes_only_the_leading_one_sends_canaries(project: Path) -> None:
    platform = build(load_config(project, environment={}, overrides=SETTINGS))
    await platform.start(run_jobs=False)
    try:
        await platform.intake.write([EDIT])
        await eventually(lambda: platform.monitor.book.is_open)
        await asyncio.sleep(1.5)
        assert platform.monitor.canaries.plans == {}
        assert await canaries_in(platform, "demo.edit") == 0
    finally:
        await platform.stop()


async def test_counts_and_freshness_survive_a_restart(project: Path) -> None:
    platform = await started(project)
    await platform.intake.write([EDIT, {**EDIT, "title": "Sea"}, {**EDIT, "bytes": "many"}])
    await eventually(lambda: platform.monitor.book.topic("codfw.notes").last_canary_ms)
    hour = platform.monitor.book.topic("codfw.notes").last_canary_ms // HOUR_MS  # type: ignore[operator]
    await platform.monitor.count_now()
    await platform.stop()
    platform = await started(project, **{"monitoring.canaries": False})
    try:
        await eventually(lambda: platform.monitor.book.counted_until_ms)
        book = platform.monitor.book
        assert book.topic("codfw.notes").last_canary_ms
        assert received(book, "demo.edit", hour) == 2
        assert received(book, platform.config.intake.error_stream_name, hour) == 1
        # The first process has said what it let in; judged as if it had begun with the hour, and the hour were over.
        book.intakes_since_ms = hour * HOUR_MS
        book.counted_until_ms = (hour + 1) * HOUR_MS + 60_000
        found = await platform.monitor.reconciled(platform.streams.all(), hour, hour + 1)
        assert {one.stream: one.differences for one in found if one.differences} == {}
        edits = next(one for one in found if one.stream == "demo.edit")
        assert (edits.refused, edits.delivered, edits.stored) == (1, edits.accepted, edits.accepted)
    finally:
        await platform.stop()


async def test_the_api_the_page_and_the_verbs_say_the_same(platform: Platform, project: Path) -> None:
    await eventually(lambda: conditions(platform)["notes"] == "idle")
    await eventually(lambda: platform.monitor.book.counted_until_ms)
    run = CliRunner()

    async def verb(*arguments: str) -> Any:
        return await asyncio.to_thread(run.invoke, main, [*arguments, "--server", address])

    async with serving(platform) as address, httpx.AsyncClient(base_url=address) as client:
        answer = (await client.get("/v1/canaries", params={"stream": "notes"})).json()
        (notes,) = answer["streams"]
        assert (notes["condition"], {one["prefix"] for one in notes["topics"]}) == ("idle", {"eqiad.", "codfw."})
        assert set(HOPS) == set(notes["topics"][0]["hops"])
        page = await client.get("/monitoring", params={"show": "idle"})
        assert page.status_code == 200
        assert 'data-stream="notes"' in page.text
        assert 'data-stream="demo.page_edits"' not in page.text
        assert 'href="./monitoring"' in (await client.get("/")).text
        hours = (await client.get("/v1/completeness", params={"stream": "notes", "by": "receipt"})).json()
        assert [hour["state"] for hour in hours["streams"][0]["hours"]] == ["unknown"] * 23 + ["open"]
        assert (await client.get("/v1/reconciliation", params={"from": "2026-01-01T00", "to": "2026-01-01T02"})).json()[
            "agrees"
        ]
        for path, status in (
            ("/v1/completeness", 404),
            ("/v1/completeness?stream=note", 404),
            ("/v1/completeness?stream=notes&by=guess", 400),
            ("/v1/completeness?stream=notes&hour=noon", 400),
            ("/v1/completeness?stream=notes&from=1980-01-01T00", 413),
            ("/v1/canaries?condition=well", 400),
        ):
            refused = await client.get(path)
            assert (path, refused.status_code, bool(refused.json()["hint"])) == (path, status, True)
        told = await verb("canary", "status", "--condition", "idle")
        assert (told.exit_code, "notes" in told.output) == (0, True)
        told = await verb("completeness", "notes", "--hour", "2026-01-01T00")
        assert (told.exit_code, "unknown" in told.output) == (1, True)
        before = await canaries_in(platform, "demo.edit")
        sent = await verb("canary", "run", "demo.edit", "notes", "--project", str(project))
        assert sent.exit_code == 0, sent.output
        assert sent.output.splitlines() == [
            "accepted  demo.edit",
            "accepted  eqiad.notes",
            "skipped   codfw.notes: only the platform itself writes to it",
        ]
        assert await canaries_in(platform, "demo.edit") > before
        assert (await verb("canary", "run", "demo.page_edits", "--project", str(project))).exit_code == 1


async def test_streams_whose_clocks_run_ahead_are_named_also_after_a_restart(project: Path) -> None:
    platform = await started(project)
    events = [{**EDIT, "dt": moment} for moment in ("9999-12-31T23:59:59Z", "2023-11-14T20:00:01Z")]
    await platform.intake.write(events)
    for _ in range(2):
        await platform.monitor.count_now()
        [edit] = [one for one in platform.monitor.streams() if one.name == "demo.edit"]
        assert edit.clock_ahead is not None
        assert (edit.clock_ahead.events, edit.clock_ahead.lead_ms > 7_000 * 31_557_600_000) == (1, True)
        assert [one.name for one in platform.monitor.streams() if one.clock_ahead] == ["demo.edit"]
        async with serving(platform) as address, httpx.AsyncClient(base_url=address) as client:
            page = (await client.get("/monitoring")).text
            assert page.count("Producers' clocks run ahead by up to 7,") == 1
            [told] = (await client.get("/v1/canaries", params={"stream": "demo.edit"})).json()["streams"]
            assert told["clock_ahead"]["events"] == 1
            metrics = (await client.get("/metrics")).text
        await platform.stop()
        platform = await started(project)
    await platform.stop()
    assert "headwater_intake_clock_ahead_events_total" in metrics


async def test_the_real_streams_all_get_canaries_or_a_reason(fixtures_dir: Path, tmp_path: Path) -> None:
    settings = {
        "schemas.base_uris": [str(fixtures_dir / "schemas" / "primary")],
        "streams.path": str(fixtures_dir / "streams" / "wikimedia_streams.yaml"),
        "monitoring.canary_timeout_seconds": 60,
        "log.durability": "os",
    }
    platform = build(load_config(tmp_path, environment={}, overrides={**SETTINGS, **settings}))
    await platform.start(run_jobs=False)
    try:
        canaries = platform.monitor.canaries
        await canaries.plan()
        claims = {one.name for one in (*platform.streams.all(), *platform.streams.families()) if claims_canaries(one)}
        assert claims == set(canaries.plans)
        reachable = {name for name, plan in canaries.plans.items() if plan.is_possible}
        assert reachable
        assert set(canaries.impossible) == claims - reachable
        assert "names no intake" in canaries.plans["webrequest.page_trending.dev0"].problems[0]
        journeys = {key: await canaries.send(key) for key in canaries.tracks}
        assert {key: one.error for key, one in journeys.items() if one.error} == {}
        expected = {(name, topic) for name in reachable for topic in platform.streams.get(name).topics}
        assert set(journeys) == expected
        assert all(journey.place is not None and journey.place[0] == topic for (_, topic), journey in journeys.items())
    finally:
        await platform.stop()


def claims_canaries(stream: Stream) -> bool:
    return stream.canary_events_enabled and stream.enabled


async def test_on_kafka_canaries_arrive_and_hours_are_counted_across_restarts(project: Path, kafka_url: str) -> None:
    url = {"log.url": kafka_url}
    platform = await started(project, **url)
    await eventually(lambda: platform.monitor.book.topic("codfw.notes").last_canary_ms, seconds=60)
    await platform.intake.write([EDIT])
    await platform.monitor.count_now()
    await platform.stop()
    platform = await started(project, **url, **{"monitoring.canaries": False})
    try:
        await eventually(lambda: platform.monitor.book.counted_until_ms, seconds=60)
        book = platform.monitor.book
        hour = book.topic("demo.edit").last_event_ms // HOUR_MS  # type: ignore[operator]
        assert received(book, "demo.edit", hour) == 1
        book.counted_until_ms = (hour + 1) * HOUR_MS + 60_000
        found = await platform.monitor.reconciled([platform.streams.get("demo.edit")], hour, hour + 1)
        assert [(one.stored, one.differences) for one in found] == [(None, {})]
    finally:
        await platform.stop()


@pytest.mark.browser
async def test_the_page_is_kept_fresh_and_found_through(platform: Platform, needs: Any) -> None:
    path = os.environ.get("HEADWATER_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    needs("chromium", path, "install the Debian package chromium, or name one with HEADWATER_CHROMIUM")
    from playwright.async_api import async_playwright, expect

    await eventually(lambda: conditions(platform)["notes"] == "idle")
    async with serving(platform) as address, async_playwright() as tools:
        browser = await tools.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = await browser.new_page()
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        await page.goto(f"{address}/")
        await page.get_by_role("link", name="Monitoring").click()
        row = page.locator('tr[data-stream="notes"]')
        await expect(row.locator(".state")).to_have_text("idle")
        await row.get_by_text("Hops").click()
        await expect(row.get_by_text("codfw.notes")).to_be_visible()
        await page.get_by_placeholder("Find a stream").fill("demo")
        await expect(row).to_be_hidden()
        await expect(page.locator('tr[data-stream="demo.edit"]')).to_be_visible()
        assert complaints == []
        await browser.close()
