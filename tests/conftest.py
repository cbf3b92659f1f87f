"""What all tests share: the environment of the run, and the fixtures that name what is needed from outside.

How this works: `requirements.py` decides what a missing tool does to a test, `second_attempts.py` which tests may be
tried twice. The servers (`kafka_server` and others) come from `servers/fixtures.py`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

Needs = Callable[[str, object, str], None]

pytest_plugins = ["pytester", "requirements", "second_attempts", "servers.fixtures"]

settings.register_profile("dev", deadline=None, max_examples=50)
settings.register_profile(
    "ci", deadline=None, max_examples=200, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


@pytest.fixture(scope="session")
def chromium_executable(needs: Needs) -> str:
    """A Chromium or Chrome to drive headless."""
    found = next((path for name in CHROMIUM_NAMES if (path := shutil.which(name))), None)
    needs("chromium", found, "install the Debian package chromium")
    assert found is not None
    return found
