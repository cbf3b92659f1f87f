"""Which failed tests are tried a second time, what is printed of them, and what fails the run nevertheless."""

from __future__ import annotations

import pytest

FLAKY = """
import pytest

ATTEMPTS = []

@pytest.fixture(scope="module")
def server():
    ATTEMPTS.append("started")
    yield
    ATTEMPTS.append("ended")

@pytest.mark.real_server
def test_flaky(server):
    assert ATTEMPTS.count("started") > 1, "the broker was away"

def test_between(server):
    assert ATTEMPTS == ["started"]
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makeini("[pytest]\naddopts = -p second_attempts -p no:asyncio --strict-markers")
    return pytester


def test_a_marked_test_is_tried_again_after_the_others_with_servers_started_anew(project: pytest.Pytester) -> None:
    project.makepyfile(FLAKY)
    result = project.runpytest("--second-attempts")
    assert result.ret == 0
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        [
            "*tests that were tried twice: each is a fault to be found*",
            "*test_flaky: failed, then passed*",
            "The first failure, in call:",
            "*AssertionError: the broker was away*",
            "*2 passed, 1 tried again*",
        ]
    )


def test_a_second_failure_fails_the_run(project: pytest.Pytester) -> None:
    project.makepyfile(FLAKY.replace("> 1", "> 2"))
    result = project.runpytest("--second-attempts")
    assert result.ret == 1
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*test_flaky: failed, failed again*", "*1 failed, 1 passed, 1 tried again*"])


def test_a_failure_in_a_fixture_is_a_failure_of_the_attempt(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import pytest

        ATTEMPTS = []

        @pytest.fixture(scope="session")
        def server():
            ATTEMPTS.append(1)
            assert len(ATTEMPTS) > 1, "did not start"
            yield
            assert len(ATTEMPTS) > 2, "did not stop"

        @pytest.mark.real_server
        def test_it(server):
            pass
        """
    )
    result = project.runpytest("--second-attempts")
    assert result.ret == 1
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*test_it: failed, failed again*", "The first failure, in setup:"])


def test_a_test_without_the_mark_fails_the_run_at_once(project: pytest.Pytester) -> None:
    project.makepyfile(FLAKY.replace("@pytest.mark.real_server", ""))
    result = project.runpytest("--second-attempts")
    assert result.ret == 1
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.no_fnmatch_line("*tried twice*")


def test_nothing_is_tried_again_unless_asked_for(project: pytest.Pytester) -> None:
    project.makepyfile(FLAKY)
    result = project.runpytest()
    assert result.ret == 1
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.no_fnmatch_line("*tried twice*")


def test_a_run_that_is_ended_early_does_not_pass_for_a_success(project: pytest.Pytester) -> None:
    project.makepyfile(FLAKY + "\n    pytest.exit('stopped')\n")
    result = project.runpytest("--second-attempts")
    assert result.ret != 0
    result.stdout.fnmatch_lines(["*test_flaky: failed, not tried again, because the run was ended*"])


def test_tests_that_ask_for_the_fixture_of_a_server_are_marked(project: pytest.Pytester) -> None:
    project.makeconftest(
        """
        import pytest
        from second_attempts import mark_tests_of_servers

        def pytest_collection_modifyitems(items):
            mark_tests_of_servers(items, frozenset({"server"}))

        @pytest.fixture
        def server(): pass

        @pytest.fixture
        def topic(server): pass
        """
    )
    project.makepyfile("def test_direct(server): pass\ndef test_by_another(topic): pass\ndef test_alone(): pass")
    result = project.runpytest("-m", "real_server", "-v")
    result.assert_outcomes(passed=2, deselected=1)
