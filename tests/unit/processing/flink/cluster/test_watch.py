"""Which jobs run on Flink is a setting, which is checked; `tests/flink` watches real ones."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headwater.config import CONFIG_FILE, Config, load_config
from headwater.errors import ChangeRefused, ConfigInvalid
from headwater.processing.control import require_here
from headwater.processing.flink.cluster.watch import jobs_on_flink
from headwater.settings import FlinkConfig, LogConfig

NAMES = dict.fromkeys(("counts", "edits"))


def settings(
    *,
    log: str = "kafka://broker:9092",
    url: str | None = "http://flink:8081",
    jobs: tuple[str, ...] | Mapping[str, Any],
) -> Config:
    return replace(Config(Path()), log=LogConfig(url=log), flink=FlinkConfig(url=url, jobs=jobs))


def test_the_jobs_that_the_setting_names_run_on_flink() -> None:
    assert jobs_on_flink(settings(jobs=("counts",)), NAMES) == {"counts"}
    # As on Kubernetes, where each job has a cluster of its own.
    assert jobs_on_flink(settings(jobs=("counts",), url=None), NAMES) == {"counts"}
    assert jobs_on_flink(settings(jobs={"counts": "http://counts-rest:8081"}), NAMES) == {"counts"}
    assert jobs_on_flink(settings(jobs=(), url=None, log="sqlite:///events.db"), NAMES) == frozenset()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (settings(jobs=("count",)), r"flink\.jobs: the project has no job count\. Did you mean \"counts\"\?"),
        (settings(jobs=("counts",), log="sqlite:///x.db"), "Flink cannot read the log sqlite:///x.db"),
        (settings(jobs={"count": None}), r"flink\.jobs: the project has no job count\."),
        (settings(jobs={"edits": "edits-rest"}), r"flink\.jobs: the address of the cluster of edits is 'edits-rest'"),
        (settings(jobs={"edits": 8081}), r"flink\.jobs: the address of the cluster of edits is 8081"),
    ],
)
def test_settings_that_cannot_be_are_refused(config: Config, message: str) -> None:
    with pytest.raises(ConfigInvalid) as refused:
        jobs_on_flink(config, NAMES)
    assert re.search(message, str(refused.value))


def test_each_job_may_have_a_cluster_of_its_own() -> None:
    flink = settings(jobs={"counts": "http://counts-rest:8081", "edits": None}).flink
    assert [flink.url_of(name) for name in NAMES] == ["http://counts-rest:8081", "http://flink:8081"]
    flink = settings(jobs={"counts": "http://counts-rest:8081", "edits": None}, url=None).flink
    assert [flink.url_of(name) for name in NAMES] == ["http://counts-rest:8081", None]
    assert settings(jobs=("counts",)).flink.url_of("counts") == "http://flink:8081"


def test_both_forms_are_read_from_the_settings(tmp_path: Path) -> None:
    (tmp_path / CONFIG_FILE).write_text("flink:\n  url: http://flink:8081\n  jobs: [counts]\n")
    assert tuple(load_config(tmp_path, environment={}).flink.jobs) == ("counts",)
    (tmp_path / CONFIG_FILE).write_text("flink:\n  jobs:\n    counts: http://counts-rest:8081\n    edits:\n")
    flink = load_config(tmp_path, environment={}).flink
    assert (tuple(flink.jobs), flink.url_of("counts"), flink.url_of("edits")) == (
        ("counts", "edits"),
        "http://counts-rest:8081",
        None,
    )


def test_a_job_on_flink_is_not_paused_here() -> None:
    require_here("edits", {"counts"})
    with pytest.raises(ChangeRefused, match=r"counts runs on Flink") as refused:
        require_here("counts", {"counts"})
    assert "headwater job stop counts" in str(refused.value.hint)
