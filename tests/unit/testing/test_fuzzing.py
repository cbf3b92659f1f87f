"""The fuzz campaign finds what it is for, keeps what it found, and finds nothing now."""

from __future__ import annotations

import contextlib
import json
import mmap
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from headwater.testing.fuzzing.__main__ import main
from headwater.testing.fuzzing.campaign import Campaign, Outcome, minimized
from headwater.testing.fuzzing.mutation import DATA_BYTES_MAX, Mutator
from headwater.testing.fuzzing.reached import Reached
from headwater.testing.fuzzing.targets import TARGETS
from headwater.times import time_ms

CASES = 300


class Given:
    """A target made of a function."""

    name = "given"
    modules: Sequence[str] = ("headwater.times",)
    stall_seconds_max = 0.05
    words: Sequence[bytes] = (b"bug",)

    def __init__(self, run: Callable[[bytes], object], *examples: bytes) -> None:
        self.examples: Sequence[bytes] = examples
        self._run = run

    def opened(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def run(self, data: bytes) -> Outcome:
        told = self._run(data)
        return told if isinstance(told, Outcome) else Outcome("taken")


def test_an_input_that_raises_is_found_once_and_made_short() -> None:
    def run(data: bytes) -> None:
        if b"bug" in data:
            raise ValueError("a bug")

    report = Campaign(Given(run, b"good"), seed=1).run(seconds=20, cases=5_000)
    assert [(finding.what, finding.data) for finding in report.findings] == [("ValueError: a bug", b"bug")]


def test_an_input_that_takes_long_is_found() -> None:
    def run(data: bytes) -> None:
        if b"bug" in data:
            time.sleep(0.06)

    report = Campaign(Given(run, b"good"), seed=1).run(seconds=20, cases=200)
    assert any(finding.what.startswith("took ") for finding in report.findings)


def test_only_what_held_up_others_counts_where_a_target_knows_it() -> None:
    def run(data: bytes) -> Outcome:
        time.sleep(0.06)
        return Outcome("waited", stalled_seconds=0.2 if b"bug" in data else 0.0)

    report = Campaign(Given(run, b"good", b"bug"), seed=1).run(seconds=20, cases=50)
    assert {b"bug" in finding.data for finding in report.findings} == {True}
    assert report.slowest_seconds >= 0.2


def test_an_input_with_a_new_outcome_joins_the_examples() -> None:
    report = Campaign(Given(lambda data: Outcome(f"{len(data) // 100}"), b"x"), seed=1).run(seconds=20, cases=2_000)
    assert len(report.outcomes) > 2
    assert {len(example) // 100 for example in report.examples} >= {0, 1, 2}


def test_memory_that_grows_is_found() -> None:
    held: list[mmap.mmap] = []

    def run(data: bytes) -> None:
        # Pages of its own: what was freed before could be given again, and nothing would grow.
        held.append(mmap.mmap(-1, 4_096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
        held[-1].write(b"x" * 4_096)

    report = Campaign(Given(run, b"x"), seed=1).run(seconds=60, cases=12_000)
    assert [finding.what for finding in report.findings if "memory grew" in finding.what]


def test_the_lines_of_the_modules_under_test_are_counted() -> None:
    reached = Reached(("headwater.times",))
    with reached.recorded():
        time_ms("2026-01-01T00:00:00Z")
    some, lines = reached.depth()
    assert 0 < some < lines
    assert any(function.endswith("utc_text") for function in reached.missed())
    assert not any(function.endswith(" time_ms") for function in reached.missed())


def test_a_finding_is_made_as_short_as_it_can_be() -> None:
    assert minimized(b"x" * 500 + b"bug" + b"y" * 300, lambda data: b"bug" in data) == b"bug"
    assert minimized(b"only all of it", lambda data: False) == b"only all of it"


def test_nodes_of_json_inside_an_input_are_changed() -> None:
    mutator, head = Mutator((), random.Random(5)), b"POST /x\nx: y\n\n"
    seen = {mutator.changed(head + b'{"a":{"b":[1,2,{"c":null}]},"d":"text"}', b"") for _ in range(400)}
    bodies = [one[len(head) :] for one in seen if one.startswith(head + b"{")]
    read = 0
    for body in bodies:
        with contextlib.suppress(ValueError, RecursionError):
            json.loads(body)
            read += 1
    assert read > len(seen) // 4


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
    assert report.cases > len(report.outcomes) > 0
    assert report.lines_reached > 0


@pytest.mark.parametrize("name", TARGETS)
def test_the_examples_of_a_target_come_past_its_parser(name: str) -> None:
    target = TARGETS[name]
    with target.opened():
        outcomes = [target.run(example).what for example in target.examples]
    words = ("invalid", "malformed", "unavailable", "no answer", "badvalue")
    taken = [one for one in outcomes if one != "refused" and one[:1] not in "45" and not any(w in one for w in words)]
    assert len(taken) * 3 >= len(outcomes), outcomes


def test_what_was_found_is_written_down(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = tmp_path / "corpus"
    assert main(["filters", "--cases", "50", "--missed", "--corpus-dir", str(corpus)]) == 0
    assert "50 cases, 0 findings" in capsys.readouterr().out
    kept = sorted((corpus / "filters").iterdir())
    assert kept
    assert main(["filters", "--input", *map(str, kept)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(kept)
    assert main(["filters", "--input", str(tmp_path / "nothing")]) == 2
    with pytest.raises(SystemExit):
        main(["filtres", "--cases", "1"])
    assert "there is no target 'filtres'" in capsys.readouterr().err
