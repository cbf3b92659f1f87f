"""The sampling rules: the legacy ones agree with every recorded decision, ours with what it promises."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.streams.sampling import (
    BROWSER_UNITS,
    decide,
    hash64,
    in_sample_hash64,
    in_sample_one_in,
    legacy32_value,
)
from requirements import fixtures_folder, requires_fixtures

VECTORS = fixtures_folder() / "intake" / "client_vectors.json"

recorded = requires_fixtures(VECTORS)


def _vectors(kind: str) -> list[dict[str, Any]]:
    vectors: list[dict[str, Any]] = json.loads(VECTORS.read_bytes())[kind]
    assert vectors
    return vectors


@recorded
def test_the_legacy_rule_decides_as_recorded() -> None:
    for vector in _vectors("sampling"):
        config = vector["stream_config"]
        if "value" in vector:
            assert legacy32_value(vector["id"]) == pytest.approx(vector["value"], abs=1e-15), vector
        # A stream without a configuration is not sent at all.
        decided = config is not None and decide("s", config.get("sample"), dict.fromkeys(BROWSER_UNITS, vector["id"]))
        assert bool(decided and decided.included) == vector["in_sample"], vector


@recorded
def test_the_oldest_rule_decides_as_recorded() -> None:
    for vector in _vectors("legacy_one_in_n_sampling"):
        assert in_sample_one_in(vector["token"], vector["population_size"]) == vector["in_sample"], vector


@given(salt=st.text(), stream=st.text(), unit_id=st.text())
def test_rate_0_selects_no_unit_and_rate_1_every_unit(salt: str, stream: str, unit_id: str) -> None:
    assert not in_sample_hash64(salt, stream, unit_id, 0)
    assert in_sample_hash64(salt, stream, unit_id, 1)


@given(unit_id=st.text(), low=st.floats(0, 1), high=st.floats(0, 1))
def test_who_is_in_at_a_rate_is_in_at_every_higher_one(unit_id: str, low: float, high: float) -> None:
    low, high = sorted((low, high))
    assert not in_sample_hash64("", "s", unit_id, low) or in_sample_hash64("", "s", unit_id, high)


@pytest.mark.parametrize("rate", [0.001, 0.01, 0.1, 0.5, 0.9])
def test_the_rate_is_met_and_streams_are_sampled_independently(rate: float) -> None:
    units = [f"{number:020x}" for number in range(100_000)]
    first = {unit for unit in units if in_sample_hash64("", "first", unit, rate)}
    second = {unit for unit in units if in_sample_hash64("", "second", unit, rate)}
    deviation = (rate * (1 - rate) / len(units)) ** 0.5
    assert len(first) / len(units) == pytest.approx(rate, abs=5 * deviation)
    both = rate * rate
    assert len(first & second) / len(units) == pytest.approx(both, abs=5 * (both * (1 - both) / len(units)) ** 0.5)


def test_the_hash_is_what_other_languages_compute() -> None:
    # Computed with BigInt in JavaScript, as clients/js does.
    assert hash64("", "", "") == 0xDB01C3104E99566D
    assert hash64("a", "b", "c") == 0xB34961BB0924E952
    assert hash64("", "demo.edit", "é") == 0x185AA6A379AB1314


def test_the_applied_rate_is_reported_and_invalid_settings_exclude_all_units() -> None:
    sample = {"unit": "session", "rate": 0.25, "algorithm": "hash64"}
    decided = decide("s", sample, {"session": "abc"})
    assert decided.applied == sample
    assert decide("s", None, {}).included
    for wrong in ({"unit": "session"}, {"rate": 0.5}, {"unit": "device", "rate": 1}):
        assert not decide("s", wrong, {"session": "abc"}).included
    assert not decide("s", sample | {"rate": "1"}, {"session": "abc"}).included
    assert not decide("s", sample | {"algorithm": "md5"}, {"session": "abc"}).included
