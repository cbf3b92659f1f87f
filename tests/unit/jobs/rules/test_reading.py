"""Rules as they are written in YAML: what they mean, and what errors say."""

from __future__ import annotations

from pathlib import Path

import pytest

from headwater.declaration import parse_declaration
from headwater.errors import ConfigInvalid, JobInvalid
from headwater.jobs.loader import load_jobs
from headwater.jobs.rules.reading import read_rules, rules_of
from headwater.jobs.rules.rule import Rule

EXEC = "exec: {uri: 'https://s.example/{meta.id}'}"


def rule(text: str) -> Rule:
    lines = "\n".join(f"    {line}" for line in text.splitlines())
    (found,) = rules_of(parse_declaration(f"rules:\n  one:\n{lines}\n", file="rules.yaml"))
    return found


def test_the_defaults_are_those_of_the_reference() -> None:
    found = rule(f"stream: a\n{EXEC}")
    assert (found.streams, found.retries_max, found.retry_delay_ms, found.retry_factor) == (("a",), 2, 60_000, 6)
    assert (found.retry_on, found.ignore) == (frozenset(range(500, 600)), {412})
    assert [found.delay_ms(failures) for failures in (1, 2, 3)] == [60_000, 360_000, 2_160_000]
    assert found.cases[0].executions[0].method == "GET"


@pytest.mark.parametrize("key", ["topic", "topics", "stream", "streams"])
@pytest.mark.parametrize("value", ["a", "[a]", "[a, a]"])
def test_streams_have_four_spellings(key: str, value: str) -> None:
    assert rule(f"{key}: {value}\n{EXEC}").streams == ("a",)


@pytest.mark.parametrize(
    ("written", "statuses"),
    [
        ("503", {503}),
        ("[5xx]", set(range(500, 600))),
        ("[50x, 429]", {*range(500, 510), 429}),
        ("{status: [503, '42x']}", {503, *range(420, 430)}),
        ("[]", set()),
    ],
)
def test_statuses_may_have_an_x_for_any_digit(written: str, statuses: set[int]) -> None:
    assert rule(f"stream: a\n{EXEC}\nretry_on: {written}").retry_on == statuses
    assert rule(f"stream: a\n{EXEC}\nignore: {written}").ignore == statuses


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        (f"stream: a\n{EXEC}\nretry_limits: 3", 5, '"retry_limit"'),
        (f"stream: a\n{EXEC}\nmatch_nto: {{a: 1}}", 5, '"match_not"'),
        ("stream: a\nexec: {url: 'https://s.example/'}", 4, '"uri"'),
        (f"stream: a\nstreams: [b]\n{EXEC}", 4, "both `stream` and `streams`"),
        (EXEC, 2, "no stream"),
        ("stream: a", 2, "either `exec` or `cases`"),
        (f"stream: a\n{EXEC}\ncases: []", 2, "either `exec` or `cases`"),
        ("stream: a\ncases:\n  - match: {a: 1}", 5, "no `exec`"),
        ("stream: a\nexec: {uri: 'ftp://s.example/'}", 4, "http://"),
        ("stream: a\nexec: {uri: 'https://s.example/{meta..id}'}", 4, "no field of an event"),
        ("stream: a\nexec: {uri: 'https://s.example/{meta.id'}", 4, "no field of an event"),
        (f"stream: a\n{EXEC}\nmatch:\n  b: /(/", 6, "no regular expression"),
        (f"stream: a\n{EXEC}\nmatch: {{}}", 5, "every event"),
        (f"stream: a\n{EXEC}\nretry_on: [600]", 5, "no status"),
        (f"stream: a\n{EXEC}\nretry_on: [true]", 5, "no status"),
        (f"stream: a\n{EXEC}\nretry_limit: 21", 5, "from 0 to 20"),
        (f"stream: a\n{EXEC}\nretry_limit: 1.5", 5, "whole number"),
        (f"stream: a\n{EXEC}\nretry_delay: soon", 5, "duration"),
        (f"stream: a\n{EXEC}\nretry_factor: 1000\nretry_limit: 20", 5, "100 years"),
        (f"stream: a\n{EXEC}\nconcurrency: 0", 5, "from 1"),
        (f"stream: a\n{EXEC}\nsample: 2", 5, "from 0 to 1"),
        (f"stream: a\n{EXEC}\nlimiters: [{{key: a, errors: 1}}]", 5, "no `per`"),
        (f"stream: a\n{EXEC}\nlimiters: [{{key: a, errors: 1, pre: 1h}}]", 5, '"per"'),
        ("stream: a\nexec:\n  uri: 'https://s.example/'\n  headers: {'a b': c}", 6, "no name of a header"),
    ],
)
def test_an_error_has_file_line_rule_and_what_to_write(text: str, line: int, says: str) -> None:
    with pytest.raises(ConfigInvalid) as raised:
        rule(text)
    message = f"{raised.value} {raised.value.hint or ''}"
    assert message.startswith(f"rules.yaml:{line}: "), message
    assert says in message


@pytest.mark.parametrize("text", ["", "[]", "rules: []", "rules: {}", "rule: {}", "rules: {'a b': {}}"])
def test_a_file_without_usable_rules_is_refused(text: str) -> None:
    with pytest.raises(ConfigInvalid, match=r"^rules.yaml"):
        rules_of(parse_declaration(text, file="rules.yaml"))


def test_a_file_that_is_missing_is_an_error_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"none\.yaml"):
        read_rules(tmp_path / "none.yaml")


def test_a_project_with_a_wrong_rule_is_refused_with_the_line_of_the_rule(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "rules.yaml").write_text(f"rules:\n  one:\n    stream: a\n    {EXEC}\n    smaple: 1\n", "utf-8")
    code = """
from pathlib import Path
from headwater.jobs.rules.jobs import rule_jobs
one = rule_jobs("one", Path(__file__).parent.parent / "rules.yaml")
"""
    (tmp_path / "jobs" / "rules.py").write_text(code, "utf-8")
    with pytest.raises(JobInvalid, match=r"rules\.yaml:5: unknown key \"smaple\"") as raised:
        load_jobs(tmp_path / "jobs", tmp_path)
    assert raised.value.hint == 'Did you mean "sample"?'
