"""Jobs of this process pass the suite of hostings."""

from __future__ import annotations

import pytest

from headwater.config import load_config
from headwater.platform import build
from headwater.processing.hosting.inside import InsideHosting
from headwater.processing.supervisor import Supervisor
from headwater.testing.suites.hosting import HostingSuite, NewPlatform


class TestInsideHosting(HostingSuite):
    implementations = (InsideHosting, Supervisor)

    @pytest.fixture
    def new_platform(self) -> NewPlatform:
        return lambda directory: build(load_config(directory, environment={}))
