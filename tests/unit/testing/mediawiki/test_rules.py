"""Rules as data: what is taken, and how a mistake is reported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import ConfigInvalid
from headwater.testing.mediawiki import Http, MaxLag, MediaWikiStandIn, RateLimit, Slow, read_rules
from headwater.testing.mediawiki.rules import MODES, AnyRule, Asked, RuleBook, read_rules_file


@pytest.mark.parametrize("mode", sorted(MODES))
def test_every_mode_needs_no_more_than_its_name(mode: str) -> None:
    (rule,) = read_rules([{"mode": mode}])
    assert (rule.MODE, rule.times, rule.every) == (mode, None, 1)


def test_rules_may_be_objects_or_mappings() -> None:
    written = [{"mode": "slow", "seconds": 2}, MaxLag(lag=7), {"mode": "ratelimit", "retry_after": 3, "times": 2}]
    assert read_rules(written) == [Slow(seconds=2.0), MaxLag(lag=7), RateLimit(retry_after=3, times=2)]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({"mode": "maxlag"}, "rules are a list"),
        ("slow", "rules are a list"),
        ([{"mode": "maxlga"}], 'rule 0: unknown mode "maxlga". Did you mean "maxlag"?'),
        ([{"mode": "slow"}, {"seconds": 2}], "rule 1: there is no mode"),
        ([{"mode": 429}], "rule 0: there is no mode"),
        (["slow"], "rule 0 must be a mapping"),
        ([{"mode": "slow", "secnds": 2}], 'unknown key "secnds" in [0]. Did you mean "seconds"?'),
        ([{"mode": "slow", "lag": 2}], 'unknown key "lag" in [0]'),
        ([{"mode": "slow", "seconds": "2s"}], "[0].seconds must be a number"),
        ([{"mode": "slow", "seconds": -1}], "[0].seconds must be at least 0"),
        ([{"mode": "slow", "seconds": 1e9}], "[0].seconds must be at most 3600"),
        ([{"mode": "http", "status": 99}], "[0].status must be at least 200"),
        ([{"mode": "http", "status": "503"}], "[0].status must be a whole number"),
        ([{"mode": "http", "headers": {"Retry-After": [1]}}], "the header 'Retry-After' must be one line of text"),
        ([{"mode": "http", "headers": {"X": "a\r\nSet-Cookie: b"}}], "the header 'X' must be one line of text"),
        ([{"mode": "slow", "times": 0}], "[0].times must be at least 1"),
        ([{"mode": "slow", "every": 0}], "[0].every must be at least 1"),
        ([{"mode": "slow", "revid": "1|2"}], "[0].revid must be a whole number or a list of whole numbers or null"),
        ([{"mode": "slow", "revid": 0}], "[0].revid must be at least 1"),
        ([{"mode": "slow", "revid": [5, 0]}], "revid must be at least 1"),
        ([{"mode": "slow", "path": "w/api.php"}], '[0].path must start with "/"'),
        ([{"mode": "slow"}] * 10_001, "there are more than 10000 rules"),
    ],
)
def test_a_mistake_is_refused_with_its_place(written: Any, expected: str) -> None:
    stand_in = MediaWikiStandIn(rules=[{"mode": "empty"}])
    with pytest.raises(ConfigInvalid) as raised:
        stand_in.set_rules(written)
    assert expected in str(raised.value)
    assert [rule.MODE for rule, _ in stand_in.rules()] == ["empty"], "all of the rules or none"


def test_a_mistake_in_a_file_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text("- mode: ratelimit\n  times: 2\n- mode: slow\n  revid: 5\n  secondss: 2\n", encoding="utf-8")
    with pytest.raises(ConfigInvalid) as raised:
        read_rules_file(file)
    assert f'{file}:5: unknown key "secondss" in [1]. Did you mean "seconds"?' in str(raised.value)


def test_a_file_may_be_yaml_or_json(tmp_path: Path) -> None:
    yaml, json = tmp_path / "rules.yaml", tmp_path / "rules.json"
    yaml.write_text("- mode: http\n  status: 502\n  headers: {Retry-After: 2}\n", encoding="utf-8")
    json.write_text('[{"mode": "http", "status": 502, "headers": {"Retry-After": 2}}]', encoding="utf-8")
    assert read_rules_file(yaml) == read_rules_file(json) == [Http(status=502, headers={"Retry-After": 2})]


RULES = st.lists(
    st.builds(
        Http,
        revid=st.none() | st.integers(1, 4),
        times=st.none() | st.integers(1, 4),
        every=st.integers(1, 3),
        domain=st.none() | st.sampled_from(["a", "b"]),
    ),
    max_size=4,
)
REQUESTS = st.lists(
    st.builds(
        Asked,
        domain=st.sampled_from(["a", "b"]),
        path=st.just("/w/api.php"),
        revids=st.sets(st.integers(1, 4)).map(tuple),
        maxlag=st.none(),
    ),
    max_size=30,
)


@given(rules=RULES, requests=REQUESTS)
def test_the_rule_that_applies_is_the_first_that_matches_and_has_budget(
    rules: list[AnyRule], requests: list[Asked]
) -> None:
    """Compared with a reading of the promise that keeps the whole past instead of counters."""
    book = RuleBook()
    book.replace(rules)
    offered: list[list[bool]] = [[] for _ in rules]
    for asked in requests:
        expected = None
        for rule, past in zip(rules, offered, strict=True):
            if rule.times is not None and sum(past) >= rule.times:
                continue
            if rule.domain not in (None, asked.domain) or (rule.revid is not None and rule.revid not in asked.revids):
                continue
            past.append((len(past) + 1) % rule.every == 0)
            if past[-1]:
                expected = rule
                break
        assert book.pick(asked) is expected
