"""The arguments with which a job is started on Flink."""

from __future__ import annotations

from pathlib import Path

import pytest

from headwater.processing.flink.asked import Asked, parse_arguments


def test_what_is_not_asked_for_is_as_the_job_and_flink_say(tmp_path: Path) -> None:
    found = parse_arguments(["--project", str(tmp_path), "--job", "edits"])
    assert found == Asked(project=tmp_path.resolve(), job="edits")


def test_everything_can_be_asked_for(tmp_path: Path) -> None:
    found = parse_arguments(
        [
            *("--project", str(tmp_path), "--job", "edits", "--cluster", "localhost:8081", "--parallelism", "4"),
            *("--mode", "thread", "--guarantee", "exactly-once", "--idle", "never", "--until-end"),
            *("--savepoint", "file:///var/one", "--flink", "a.b=1=2", "--flink", "c="),
        ]
    )
    assert found == Asked(
        project=tmp_path.resolve(),
        job="edits",
        cluster="localhost:8081",
        parallelism=4,
        mode="thread",
        guarantee="exactly-once",
        never_idle=True,
        until_end=True,
        savepoint="file:///var/one",
        settings=(("a.b", "1=2"), ("c", "")),
    )


def test_a_run_next_to_the_job_has_bounds_and_a_name_of_its_own() -> None:
    times = ("--since", "2026-11-01T00:00:00Z", "--until", "2026-11-02T00:00:00Z")
    found = parse_arguments(["--job", "edits", "--release", "again", *times])
    assert (found.since_ms, found.until_ms) == (1_793_491_200_000, 1_793_577_600_000)
    assert (found.is_bounded, found.suffix) == (True, ".again")
    assert parse_arguments(["--job", "edits"]).suffix == ""


@pytest.mark.parametrize(
    "wrong",
    [
        ["--since", "2026-11-01T00:00:00Z"],
        ["--release", "again", "--until", "soon"],
        ["--parallelism", "0"],
        ["--parallelism", "129"],
        ["--flink", "nothing"],
        ["--mode", "fast"],
        ["--jo", "edits"],
    ],
)
def test_a_wrong_argument_ends_the_program(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        parse_arguments(["--job", "edits", *wrong])
    assert "usage:" in capsys.readouterr().err
