"""A second attempt for failed tests of real servers, and for no others: a pytest plugin, off unless asked for.

How this works: with `--second-attempts`, a failed test that is marked `real_server` is not counted as failed yet. When
all other tests have run it is tried once more, alone, with new servers. What was tried twice is printed at the end with
its first failure, also when the second attempt passed: each is a fault to be found. A second failure fails the run, and
so does every failure of a test without the mark. The mark is set on tests that ask for the fixture of a server; a test
that starts servers by other means sets it itself.
"""

from __future__ import annotations

from collections.abc import Generator

import pytest

MARK = "real_server"
TRIED_AGAIN = "tried again"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--second-attempts",
        action="store_true",
        help=f"try failed tests that are marked {MARK} once more, alone, and print what was tried twice",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"{MARK}: runs against a server outside this process (Kafka, PostgreSQL, …)")
    if config.getoption("--second-attempts"):
        config.pluginmanager.register(SecondAttempts(), "second-attempts-of-a-session")


def mark_tests_of_servers(items: list[pytest.Item], server_fixtures: frozenset[str]) -> None:
    """Mark the tests that ask, by whatever fixture, for one of `server_fixtures`."""
    for item in items:
        if server_fixtures & set(getattr(item, "fixturenames", ())):
            item.add_marker(MARK)


class SecondAttempts:
    """Holds back the failures of one session's marked tests, and runs these tests again after the others."""

    def __init__(self) -> None:
        self._failures: dict[str, list[pytest.TestReport]] = {}
        self._waiting: list[pytest.Item] = []
        self._outcomes: dict[str, str] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if item.nodeid in self._outcomes:
            if report.failed:
                self._outcomes[item.nodeid] = "failed again"
        elif report.failed and item.get_closest_marker(MARK):
            if item not in self._waiting:
                self._waiting.append(item)
            self._failures.setdefault(item.nodeid, []).append(report)
            # Neither passed nor failed: pytest counts it under the name that `pytest_report_teststatus` gives it.
            report.outcome = TRIED_AGAIN  # type: ignore[assignment]
        return report

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        result = yield
        for item in self._waiting:
            self._outcomes[item.nodeid] = "then passed"
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
        return result

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        if report.outcome == TRIED_AGAIN:
            return TRIED_AGAIN, "A", "TO BE TRIED AGAIN"
        return None

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self._failures:
            return
        terminalreporter.section("tests that were tried twice: each is a fault to be found", sep="=", red=True)
        for nodeid, reports in self._failures.items():
            outcome = self._outcomes.get(nodeid, "not tried again, because the run was ended")
            terminalreporter.section(f"{nodeid}: failed, {outcome}", sep="_")
            for report in reports:
                terminalreporter.line(f"The first failure, in {report.when}:")
                terminalreporter.line(report.longreprtext)
