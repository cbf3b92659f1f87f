"""The settings of jobs on Flink become options of Flink, each of them explicit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from headwater.config import Config
from headwater.errors import ConfigInvalid
from headwater.processing.flink.execution import execution_options, storage_address
from headwater.settings import FlinkConfig


def options(*, needs_process: bool = False, **flink: object) -> dict[str, str]:
    config = replace(Config(Path("/srv/project")), flink=FlinkConfig(**flink))  # type: ignore[arg-type]
    return dict(execution_options(config, needs_process=needs_process))


def test_every_job_is_checkpointed_and_restarted_as_the_settings_say() -> None:
    found = options(checkpoint_seconds=2.5, parallelism=4, restart_attempts_max=3, restart_first_seconds=0.2)
    assert found["execution.checkpointing.interval"] == "2500 ms"
    assert found["parallelism.default"] == "4"
    assert found["pipeline.max-parallelism"] == "128"
    assert found["restart-strategy.type"] == "exponential-delay"
    assert found["restart-strategy.exponential-delay.initial-backoff"] == "200 ms"
    assert found["restart-strategy.exponential-delay.attempts-before-reset-backoff"] == "3"


def test_a_job_may_be_restarted_never_or_each_time() -> None:
    assert options(restart_attempts_max=0)["restart-strategy.type"] == "none"
    each_time = options(restart_attempts_max=None)
    assert each_time["restart-strategy.type"] == "exponential-delay"
    assert not any("attempts" in name for name in each_time)


@pytest.mark.parametrize(
    ("mode", "needs_process", "expected"),
    [("auto", False, "thread"), ("auto", True, "process"), ("process", False, "process"), ("thread", False, "thread")],
)
def test_python_runs_where_it_must_or_where_the_setting_says(mode: str, needs_process: bool, expected: str) -> None:
    assert options(mode=mode, needs_process=needs_process)["python.execution-mode"] == expected


def test_a_job_with_async_functions_does_not_run_in_threads() -> None:
    with pytest.raises(ConfigInvalid, match=r"flink\.mode: thread"):
        options(mode="thread", needs_process=True)


def test_transactions_must_be_open_for_longer_than_two_checkpoints() -> None:
    with pytest.raises(ConfigInvalid, match=r"flink\.transaction_seconds_max: 60"):
        options(guarantee="exactly-once", checkpoint_seconds=30, transaction_seconds_max=60)
    options(guarantee="exactly-once", checkpoint_seconds=30, transaction_seconds_max=61)
    options(checkpoint_seconds=30, transaction_seconds_max=60)


def test_checkpoints_and_savepoints_are_where_the_settings_say() -> None:
    assert not any(name.endswith("dir") for name in options())
    found = options(checkpoints="var/checkpoints", savepoints="s3://bucket/savepoints")
    assert found["execution.checkpointing.dir"] == "file:///srv/project/var/checkpoints"
    assert found["execution.checkpointing.savepoint-dir"] == "s3://bucket/savepoints"


def test_a_path_becomes_an_address() -> None:
    config = Config(Path("/srv/project"))
    assert storage_address(config, "/mnt/flink files") == "file:///mnt/flink%20files"
    assert storage_address(config, "hdfs://names/flink") == "hdfs://names/flink"
