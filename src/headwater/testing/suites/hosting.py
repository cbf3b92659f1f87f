"""What every `Hosting` must do, as tests: an implementation's test is a subclass with a fixture for platforms.

class TestInsideHosting(HostingSuite):
    implementations = (InsideHosting, Supervisor)

    @pytest.fixture
    def new_platform(self):   # makes the platform of a project, which is in a directory; the suite starts and stops it
        return lambda directory: build(load_config(directory, environment={}))
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import yaml

from headwater.config import CONFIG_FILE
from headwater.errors import LogCorrupt
from headwater.event import decode_stored
from headwater.platform import Platform
from headwater.processing.hosting.contract import Hosting, JobHost
from headwater.testing.eventually import eventually
from headwater.testing.suites.contract_suite import ContractSuite
from headwater.testing.whole_platform.project import (
    NUMBERED,
    PASSED,
    PER_MINUTE,
    ProjectSettings,
    order,
    write_whole_project,
)

NewPlatform = Callable[[Path], Platform]
SHOPS = ("north", "south")


async def send(platform: Platform, first: int, count: int) -> None:
    """Post orders with these numbers, in minutes of ten orders each."""
    made = [
        order(f"o{n}", f"2026-01-01T00:{n // 10:02}:{n % 10:02}Z", SHOPS[n % 2], n, 1)
        for n in range(first, first + count)
    ]
    outcomes = await platform.intake.write(made)
    assert {type(one).__name__ for one in outcomes} == {"Accepted"}


async def events(platform: Platform, stream: str) -> list[dict[str, object]]:
    """All events of a stream."""
    topics = platform.streams.get(stream).topics
    position = await platform.log.first(topics)
    found: list[dict[str, object]] = []
    while records := await platform.log.read(position):
        for record in records:
            found.append(decode_stored(record.value, record.headers))
            position = position.after(record)
    return found


async def numbered(platform: Platform) -> list[tuple[object, object]]:
    """The shop and the number of each order, as a job with state has counted them."""
    return sorted((str(one["shop"]), int(str(one["number"]))) for one in await events(platform, NUMBERED))


def expected(count: int) -> list[tuple[object, object]]:
    """The same if `count` orders were each counted once, in order."""
    return sorted((SHOPS[n % 2], n // 2 + 1) for n in range(count))


async def rows(platform: Platform, table: str) -> int:
    """How many rows a table has; 0 as long as it is not open."""
    return next((view.rows_total for view in await platform.read_tables(1000) if view.name == table), 0)


class HostingSuite(ContractSuite):
    """Subclass it; see the module."""

    contracts = (Hosting, JobHost)

    @pytest.fixture
    def project(self, tmp_path: Path) -> Path:
        directory = tmp_path / "project"
        write_whole_project(directory, ProjectSettings())
        file = directory / CONFIG_FILE
        settings = yaml.safe_load(file.read_text(encoding="utf-8"))
        settings["monitoring"]["canaries"] = False
        file.write_text(yaml.safe_dump(settings), encoding="utf-8")
        return directory

    @pytest.fixture
    async def platform(self, project: Path, new_platform: NewPlatform) -> AsyncIterator[Platform]:
        platform = new_platform(project)
        await platform.start()
        try:
            yield platform
        finally:
            await platform.stop()

    async def test_the_suite_is_run_on_what_it_names(self, platform: Platform) -> None:
        self.check_implementation(platform.hosting)
        for host in platform.hosting.jobs.values():
            self.check_implementation(host)

    async def test_jobs_process_events_and_report_it(self, platform: Platform) -> None:
        await send(platform, 0, 20)
        await eventually(lambda: platform.runners["numbered"].report().written == 20)
        assert await numbered(platform) == expected(20)
        for name in ("passed", "numbered"):
            report = platform.runners[name].report()
            assert (report.name, report.state, report.read, report.errors) == (name, "running", 20, 0)
            assert report.trouble is None
            assert report.position is not None

        async def is_filled() -> bool:
            return await rows(platform, "orders") == 20

        await eventually(is_filled)

    async def test_metrics_count_the_events_of_jobs(self, platform: Platform) -> None:
        await send(platform, 0, 6)
        await eventually(lambda: platform.runners["passed"].report().written == 6)
        text = (await platform.metrics()).decode()
        assert 'headwater_job_events_total{job="passed",what="written"} 6.0\n' in text
        assert text.count("# HELP headwater_job_events_total ") == 1
        assert 'headwater_job_in_trouble{job="passed"} 0.0\n' in text

    async def test_nothing_is_lost_or_repeated_by_a_restart(self, project: Path, new_platform: NewPlatform) -> None:
        async def run(first: int) -> None:
            platform = new_platform(project)
            await platform.start()
            await send(platform, first, 30)
            await eventually(lambda: platform.runners["passed"].report().read > 0)
            await platform.stop()

        for first in (0, 30, 60):
            await run(first)
        platform = new_platform(project)
        await platform.start()
        try:

            async def is_processed() -> bool:
                return len(await numbered(platform)) >= 90

            await eventually(is_processed)
            assert await numbered(platform) == expected(90)
            assert len(await events(platform, PASSED)) == 90
        finally:
            await platform.stop()

    async def test_a_paused_job_waits_and_the_others_continue(self, platform: Platform) -> None:
        host = platform.runners["numbered"]
        assert host.control is not None
        await host.control.pause(paused=True, by="a test")
        host.look()
        await eventually(lambda: host.report().state == "paused")
        await send(platform, 0, 4)
        await eventually(lambda: platform.runners["passed"].report().written == 4)
        assert host.report().read == 0
        await host.control.pause(paused=False, by="a test")
        host.look()
        await eventually(lambda: host.report().written == 4)

    async def test_a_reset_processes_everything_again(self, platform: Platform) -> None:
        host = platform.runners["numbered"]
        await send(platform, 0, 4)
        await eventually(lambda: host.report().written == 4)
        assert host.control is not None
        await host.control.move(None, by="a test")
        host.look()
        await eventually(lambda: host.report().written == 8)

    async def test_at_the_end_all_input_is_processed_and_windows_are_emitted(self, platform: Platform) -> None:
        await send(platform, 0, 40)
        await platform.finish_jobs()
        assert await numbered(platform) == expected(40)
        assert len(await events(platform, PER_MINUTE)) == 4 * len(SHOPS)
        assert await rows(platform, "orders") == 40
        assert platform.runners["passed"].report().state == "stopped"

    async def test_a_job_that_another_process_runs_is_not_run_here(
        self, project: Path, new_platform: NewPlatform
    ) -> None:
        platform = new_platform(project)
        await platform.start(elsewhere={"numbered"})
        try:
            await send(platform, 0, 3)
            await eventually(lambda: platform.runners["passed"].report().written == 3)
            report = platform.runners["numbered"].report()
            assert (report.state, report.read, report.trouble) == ("elsewhere", 0, None)
        finally:
            await platform.stop()

    async def test_a_job_whose_file_is_damaged_is_reported_and_the_others_run(
        self, project: Path, new_platform: NewPlatform
    ) -> None:
        platform = new_platform(project)
        await platform.start(run_jobs=False)
        try:
            await platform.hosting.start({"numbered": LogCorrupt("Its file is damaged.")})
            await send(platform, 0, 3)
            await eventually(lambda: platform.runners["passed"].report().written == 3)
            report = platform.runners["numbered"].report()
            assert (report.state, report.read) == ("failed", 0)
            assert "Its file is damaged" in str(report.trouble)
        finally:
            await platform.stop()
            await platform.stop()
