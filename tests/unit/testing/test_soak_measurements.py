"""The slope of a soak's memory is exact, has a confidence interval, and distinguishes a leak from noise."""

from __future__ import annotations

import mmap
import os
import random
import threading

import pytest

from headwater.testing.soak.measurements import holdings, quantile, rise, slope

SECONDS = 1200


def series(per_hour: float, *, noise: float = 0.0, seed: int = 1) -> list[tuple[float, float]]:
    chance = random.Random(seed)
    return [(float(x), 150 + per_hour * x / 3600 + chance.gauss(0, noise)) for x in range(600, 600 + SECONDS)]


@pytest.mark.parametrize("per_hour", [-100.0, 0.0, 5.0, 400.0])
def test_the_slope_of_a_line_is_exact_and_certain(per_hour: float) -> None:
    found = slope(series(per_hour))
    assert found.per_hour == pytest.approx(per_hour, abs=1e-6)
    assert found.uncertainty == pytest.approx(0, abs=1e-6)


def test_the_interval_has_the_true_slope_about_as_often_as_it_says() -> None:
    within = 0
    for seed in range(200):
        found = slope(series(40.0, noise=3.0, seed=seed))
        within += abs(found.per_hour - 40.0) <= found.uncertainty
    assert within >= 180


def test_a_leak_in_noise_exceeds_the_bound() -> None:
    assert slope(series(60.0, noise=3.0)).exceeds(30.0)


def test_flat_memory_that_goes_up_and_down_does_not() -> None:
    saw = [(float(x), 150.0 + x % 97 * 0.2) for x in range(SECONDS)]
    assert not slope(saw).exceeds(30.0)


def test_a_slope_that_may_be_chance_does_not() -> None:
    chance = random.Random(4)
    few = [(float(x), 150 + chance.gauss(0, 5)) for x in range(20)]
    found = slope(few)
    assert found.uncertainty > abs(found.per_hour) / 2
    assert not found.exceeds(0.0) or found.per_hour - found.uncertainty > 0


def test_samples_that_are_alike_widen_the_interval() -> None:
    level, walk, chance = 0.0, [], random.Random(2)
    for x in range(SECONDS):
        level = 0.999 * level + chance.gauss(0, 1)
        walk.append((float(x), level))
    mixed = [y for _, y in walk]
    chance.shuffle(mixed)
    assert slope(walk).uncertainty > 2 * slope([(float(x), y) for x, y in enumerate(mixed)]).uncertainty


@pytest.mark.parametrize("samples", [[], [(0.0, 1.0)], [(0.0, 1.0), (1.0, 2.0), (2.0, 3.0)]])
def test_too_few_samples_make_no_slope(samples: list[tuple[float, float]]) -> None:
    with pytest.raises(ValueError, match="too few"):
        slope(samples)


def test_a_rise_is_between_the_first_and_the_last_third() -> None:
    assert rise([(float(x), 50.0 if x < 60 else 90.0) for x in range(90)]) == 40.0
    assert rise([(float(x), 50.0 + x % 2) for x in range(90)]) <= 1.0


def test_quantiles() -> None:
    assert quantile([], 0.5) == 0.0
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile(list(map(float, range(100))), 0.99) == 99.0


def test_what_a_process_holds_is_read_from_the_system() -> None:
    before = holdings(os.getpid(), 0.0)
    # Pages of its own: what was freed before could be given again, and nothing would grow.
    kept = mmap.mmap(-1, 30_000_000, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    kept.write(b"x" * len(kept))
    opened = [open(os.devnull, "rb") for _ in range(5)]  # noqa: SIM115 - closed below
    done = threading.Event()
    waiting = threading.Thread(target=done.wait)
    waiting.start()
    after = holdings(os.getpid(), 1.0)
    done.set()
    waiting.join()
    for file in opened:
        file.close()
    assert after.resident_bytes - before.resident_bytes > len(kept) * 0.9
    assert after.own_bytes - before.own_bytes > len(kept) * 0.9
    assert after.handles >= before.handles + 5
    assert after.threads >= before.threads + 1
    kept.close()
