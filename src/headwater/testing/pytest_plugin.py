"""The pytest plug-in: jobs of the project that a test is in, and the whole project on a log in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from headwater.jobs import Job
    from headwater.testing.project_test import ProjectTest

CONFIG_FILE = "headwater.yaml"


def pytest_addoption(parser: pytest.Parser) -> None:
    """The setting that names the project."""
    parser.addini("headwater_project", "Directory of the Headwater project that `headwater_project` runs.", default="")


@pytest.fixture
def open_headwater_project(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., ProjectTest]]:
    """Opens the project with arguments, such as `http` with the answers of other services; see `ProjectTest`."""
    from headwater.testing.project_test import ProjectTest

    with ExitStack() as stack:

        def opened(**arguments: Any) -> ProjectTest:
            return stack.enter_context(ProjectTest(_project(request), tmp_path / "headwater", **arguments))

        (tmp_path / "headwater").mkdir()
        yield opened


@pytest.fixture
def headwater_project(open_headwater_project: Callable[..., ProjectTest]) -> ProjectTest:
    """The project that the test is in, or that the setting `headwater_project` names, on a log in memory."""
    return open_headwater_project()


@pytest.fixture
def headwater_job(request: pytest.FixtureRequest) -> Callable[[str], Job]:
    """Gives a job of the project by its name, to be run by `headwater.testing.run_job.run`."""
    from headwater.config import load_config
    from headwater.declaration import nearest
    from headwater.processing.declarations import declarations

    jobs = {job.name: job for job in declarations(load_config(_project(request), environment={}))[1]}

    def found(name: str) -> Job:
        if name not in jobs:
            near = nearest(name, jobs)
            raise KeyError(f"the project has no job {name!r}" + (f"; did you mean {near!r}?" if near else ""))
        return jobs[name]

    return found


def _project(request: pytest.FixtureRequest) -> Path:
    named = str(request.config.getini("headwater_project"))
    if named:
        return request.config.rootpath / named
    place = Path(str(request.node.path))
    found = next((directory for directory in place.parents if (directory / CONFIG_FILE).exists()), None)
    if found is None:
        raise pytest.UsageError(
            f"{place} is not in a Headwater project: no directory above it has a {CONFIG_FILE}. "
            "Name the project with `headwater_project = DIRECTORY` in the settings of pytest."
        )
    return found
