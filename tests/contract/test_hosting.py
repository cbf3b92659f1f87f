"""Jobs of this process, and jobs in processes of their own, pass the suite of hostings."""

from __future__ import annotations

import pytest

from headwater.cli.up.wait import JOB_COMMAND
from headwater.config import load_config
from headwater.platform import build
from headwater.processing.hosting.inside import InsideHosting
from headwater.processing.hosting.processes import ProcessHosting, ProcessJob
from headwater.processing.supervisor import Supervisor
from headwater.testing.suites.hosting import HostingSuite, NewPlatform


class TestInsideHosting(HostingSuite):
    implementations = (InsideHosting, Supervisor)

    @pytest.fixture
    def new_platform(self) -> NewPlatform:
        return lambda directory: build(load_config(directory, environment={}))


class TestProcessHosting(HostingSuite):
    implementations = (ProcessHosting, ProcessJob)

    @pytest.fixture
    def new_platform(self) -> NewPlatform:
        overrides = {"jobs.processes": 2}
        return lambda directory: build(
            load_config(directory, environment={}, overrides=overrides), job_command=JOB_COMMAND
        )
