"""What tests need from outside: where the fixtures are, and the one check that skips a test or fails it.

How this works: a test module whose data comes from outside says so with `pytestmark = requires_fixtures(PATH)`; a test
or a fixture that needs a tool calls `check_need("promtool", found, "how to get it")`. Where the thing is missing, the
test is skipped with its name as the reason. HEADWATER_REQUIRE lists, comma separated, what must not be missing
(`chromium,fixtures,kafka`, or `all`): continuous integration sets it, so that a skip cannot pass for a success there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, TypeVar

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
HOW_TO_GET_FIXTURES = "name the folder of the fixtures with HEADWATER_FIXTURES"

Needs = Callable[[str, object, str], None]
Cases = TypeVar("Cases", bound=Collection[Any])


def fixtures_folder() -> Path:
    """The recorded and labelled data the tests compare with: HEADWATER_FIXTURES, else ../shared/fixtures."""
    return Path(os.environ.get("HEADWATER_FIXTURES") or REPOSITORY.parent / "shared" / "fixtures")


def is_required(name: str) -> bool:
    """Whether HEADWATER_REQUIRE lists `name`."""
    required = {part.strip() for part in os.environ.get("HEADWATER_REQUIRE", "").split(",")}
    return bool(required & {name, "all"})


def check_need(name: str, found: object, how: str) -> None:
    """Skip the running test when `found` is false; fail it when HEADWATER_REQUIRE lists `name`."""
    if found:
        return
    if is_required(name):
        pytest.fail(f"{name} is required (HEADWATER_REQUIRE) but missing: {how}", pytrace=False)
    pytest.skip(f"{name} is missing: {how}")


def mount_small_disk(folder: Path, megabytes: int) -> None:
    """Mount an empty file system of this size on `folder`, for the test to fill or to make read-only and to unmount."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "headwater-test", str(folder)]
    can = shutil.which("mount") and not subprocess.run(command, check=False, capture_output=True).returncode
    check_need("mount", can, "run as a user who may mount a file system (root, with CAP_SYS_ADMIN in a container)")


def requires_fixtures(*paths: Path) -> pytest.MarkDecorator:
    """A mark for tests that read these files or folders of the fixtures: `check_need` is called before each of them."""
    absent = [str(path) for path in paths if not path.exists()]
    return pytest.mark.needs("fixtures", not absent, f"no {', '.join(absent)}; {HOW_TO_GET_FIXTURES}")


def at_least_one(cases: Cases) -> Cases:
    """The same cases, of which there must be one: a loop over nothing would test nothing and pass."""
    assert cases, "no case was found"
    return cases


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Check what the test is marked to need; fail a test that got no case although what it needs is there."""
    for mark in item.iter_markers("needs"):
        check_need(*mark.args)
    for mark in item.iter_markers("skip"):
        reason = str(mark.kwargs.get("reason", ""))
        if reason.startswith("got empty parameter set"):
            pytest.fail(f"no case was found: {reason}", pytrace=False)


@pytest.fixture(scope="session")
def needs() -> Needs:
    """`needs(name, found, how)`: continue, skip with the reason, or fail if it is required."""
    return check_need


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of this repository."""
    return REPOSITORY


@pytest.fixture(scope="session")
def fixtures_dir() -> Path:
    """The recorded and labelled data the tests compare with: see `fixtures_folder`."""
    path = fixtures_folder()
    check_need("fixtures", path.is_dir(), f"no folder {path}; {HOW_TO_GET_FIXTURES}")
    return path
