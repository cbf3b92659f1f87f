"""What all tests share: where the fixtures are, and whether a missing tool skips a test or fails it.

How this works: a test that needs something from outside asks `needs("chromium", found, "how to get it")`, or a fixture
that does. Where the thing is missing the test is skipped, with that name as the reason. HEADWATER_REQUIRE lists, comma
separated, what must not be missing (`chromium,fixtures,kafka`, or `all`): continuous integration sets it, so that a
skip cannot pass for a success there. The servers (`kafka_server` and others) come from `servers/fixtures.py`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

REPOSITORY = Path(__file__).resolve().parent.parent
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

pytest_plugins = ["servers.fixtures"]

Needs = Callable[[str, object, str], None]

settings.register_profile("dev", deadline=None, max_examples=50)
settings.register_profile(
    "ci", deadline=None, max_examples=200, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


def check_need(name: str, found: object, how: str) -> None:
    """Skip the running test when `found` is false; fail it when HEADWATER_REQUIRE lists `name`."""
    if found:
        return
    required = {part.strip() for part in os.environ.get("HEADWATER_REQUIRE", "").split(",")}
    if required & {name, "all"}:
        pytest.fail(f"{name} is required (HEADWATER_REQUIRE) but missing: {how}", pytrace=False)
    pytest.skip(f"{name} is missing: {how}")


@pytest.fixture(scope="session")
def needs() -> Needs:
    """`needs(name, found, how)`: go on, skip with the reason, or fail where the thing is required."""
    return check_need


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of this repository."""
    return REPOSITORY


@pytest.fixture(scope="session")
def fixtures_dir() -> Path:
    """The recorded and labelled data the tests compare with: HEADWATER_FIXTURES, else ../shared/fixtures."""
    path = Path(os.environ.get("HEADWATER_FIXTURES") or REPOSITORY.parent / "shared" / "fixtures")
    check_need("fixtures", path.is_dir(), f"no folder {path}; name one with HEADWATER_FIXTURES")
    return path


@pytest.fixture(scope="session")
def chromium_executable() -> str:
    """A Chromium or Chrome to drive headless."""
    found = next((path for name in CHROMIUM_NAMES if (path := shutil.which(name))), None)
    check_need("chromium", found, "install the Debian package chromium")
    assert found is not None
    return found
