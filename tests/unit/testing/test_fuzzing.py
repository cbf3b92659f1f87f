"""The fuzz campaign finds what it is for, keeps what it found, and finds nothing now."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from headwater.testing.fuzzing.__main__ import main
from headwater.testing.fuzzing.campaign import Campaign
from headwater.testing.fuzzing.mutation import DATA_BYTES_MAX, Mutator
from headwater.testing.fuzzing.targets import TARGETS

CASES = 300


class Given:
    """A target made of a function."""

    name = "given"
    traceable = True
    stall_seconds_max = 0.05
    words: Sequence[bytes] = (b"bug",)

    def __init__(self, run: Callable[[bytes], None], *examples: bytes) -> None:
        self.examples = examples
        self.run = run  # type: ignore[method-assign]

    def opened(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def run(self, data: bytes) -> None:
        """Replaced for each target."""


def test_an_input_that_raises_is_found_and_told_once_or_twice() -> None:
    def run(data: bytes) -> None:
        if b"bug" in data:
            raise ValueError("a bug")

    report = Campaign(Given(run, b"good"), seed=1).run(seconds=20, cases=5_000)
    assert {finding.what for finding in report.findings} == {"ValueError: a bug"}
    assert all(b"bug" in finding.data for finding in report.findings)
    assert 1 <= len(report.findings) <= 2


def test_an_input_that_takes_long_is_found() -> None:
    def run(data: bytes) -> None:
        if b"bug" in data:
            time.sleep(0.06)

    report = Campaign(Given(run, b"good"), seed=1).run(seconds=20, cases=200)
    assert any(finding.what.startswith("took ") for finding in report.findings)


def test_a_campaign_is_repeatable() -> None:
    def recorded(seed: int) -> list[bytes]:
        seen: list[bytes] = []
        Campaign(Given(seen.append, b"one", b'{"two": 2}'), seed).run(seconds=20, cases=200)
        return seen

    assert recorded(3) == recorded(3)
    assert recorded(3) != recorded(4)


def test_inputs_stay_bounded_and_change() -> None:
    mutator = Mutator((b"x" * 1_000,), random.Random(5))
    data = b"begin"
    seen = set()
    for _ in range(500):
        data = mutator.changed(data, b"other") or b"again"
        assert len(data) <= DATA_BYTES_MAX
        seen.add(data)
    assert len(seen) > 300


@pytest.mark.parametrize("name", TARGETS)
def test_nothing_is_found_in_a_moment(name: str) -> None:
    """Longer campaigns: `make fuzz`."""
    report = Campaign(TARGETS[name], seed=11).run(seconds=10, cases=CASES)
    assert report.findings == []
    assert report.cases > 0


def test_what_was_found_is_written_down(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["filters", "--cases", "50", "--output-dir", str(tmp_path / "found")]) == 0
    assert "filters" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["filtres", "--cases", "1"])
    assert "there is no target 'filtres'" in capsys.readouterr().err
