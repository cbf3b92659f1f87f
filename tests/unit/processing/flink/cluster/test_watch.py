"""Which jobs run on Flink is a setting, which is checked; `tests/flink` watches real ones."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from headwater.config import Config
from headwater.errors import ChangeRefused, ConfigInvalid
from headwater.processing.control import require_here
from headwater.processing.flink.cluster.watch import jobs_on_flink
from headwater.settings import FlinkConfig, LogConfig

NAMES = dict.fromkeys(("counts", "edits"))


def settings(
    *, log: str = "kafka://broker:9092", url: str | None = "http://flink:8081", jobs: tuple[str, ...]
) -> Config:
    return replace(Config(Path()), log=LogConfig(url=log), flink=FlinkConfig(url=url, jobs=jobs))


def test_the_jobs_that_the_setting_names_run_on_flink() -> None:
    assert jobs_on_flink(settings(jobs=("counts",)), NAMES) == {"counts"}
    # As on Kubernetes, where each job has a cluster of its own.
    assert jobs_on_flink(settings(jobs=("counts",), url=None), NAMES) == {"counts"}
    assert jobs_on_flink(settings(jobs=(), url=None, log="sqlite:///events.db"), NAMES) == frozenset()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (settings(jobs=("count",)), r"flink\.jobs: the project has no job count\. Did you mean \"counts\"\?"),
        (settings(jobs=("counts",), log="sqlite:///x.db"), "Flink cannot read the log sqlite:///x.db"),
    ],
)
def test_settings_that_cannot_be_are_refused(config: Config, message: str) -> None:
    with pytest.raises(ConfigInvalid) as refused:
        jobs_on_flink(config, NAMES)
    assert re.search(message, str(refused.value))


def test_a_job_on_flink_is_not_paused_here() -> None:
    require_here("edits", {"counts"})
    with pytest.raises(ChangeRefused, match=r"counts runs on Flink") as refused:
        require_here("counts", {"counts"})
    assert "headwater job stop counts" in str(refused.value.hint)
