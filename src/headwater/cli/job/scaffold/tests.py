"""The tests of a new job, by its kind: what it makes of one event, what fails, and a run in the whole project."""

from __future__ import annotations

from typing import assert_never

from headwater.cli.job.scaffold.code import literal, literal_of, signature
from headwater.cli.job.scaffold.kinds import TABLES
from headwater.cli.job.scaffold.plan import SERVICE, Plan, item, quoted
from headwater.event import get_path, json_bytes

_JOB = "headwater_job: Callable[[str], Job]"
_PROJECT = "open_headwater_project: Callable[..., ProjectTest]"


def tests_code(plan: Plan) -> str:
    """The text of tests/test_NAME.py."""
    match plan.kind:
        case "function" | "state" | "window" | "sql":
            constants, tests = "", [_output(plan), _failure(plan), _project(plan)]
        case "lookup":
            constants, tests = _answers(), [_output(plan), _retry(plan), _failed_lookup(plan), _project(plan)]
        case "table" | "materialized":
            constants, tests = "", [_row(plan)]
        case _:
            assert_never(plan.kind)
    if plan.kind == "sql":
        # NULL is a group, as in SQL: no event fails.
        tests = [_output(plan), _project(plan)]
    imports = ["from headwater.testing.project_test import ProjectTest"]
    if plan.kind not in TABLES:
        imports = ["from headwater.jobs import Job", *imports, "from headwater.testing.run_job import run"]
    return (
        f'"""Tests of the job {plan.name}: run them with `pytest`."""\n\n'
        f"from collections.abc import Callable\nfrom typing import Any\n\n" + "\n".join(imports) + "\n\n"
        f"{_names(plan)}EVENT: dict[str, Any] = {literal(dict(plan.example), 0)}\n{constants}\n\n" + "\n\n".join(tests)
    )


def _names(plan: Plan) -> str:
    if plan.sink is None:
        job = plan.name if plan.kind == "materialized" else f"table.{plan.name}"
        return f"JOB = {quoted(job)}\nTABLE = {quoted(plan.name)}\n"
    return f"JOB = {quoted(plan.name)}\nSINK = {quoted(plan.sink)}\n"


def _post(plan: Plan) -> str:
    # The intake takes nothing from outside for what jobs write.
    return "put" if plan.is_derived else "post"


def _answers() -> str:
    return f'SERVICE = "{SERVICE}/*"\nANSWER = {{"answer": "yes"}}\n'


def _http(plan: Plan, answers: str = "ANSWER") -> str:
    return f", http={{SERVICE: {answers}}}" if plan.kind == "lookup" else ""


def _expected(plan: Plan) -> dict[str, str]:
    """The expressions of the fields of the output for EVENT."""
    found = {"dt": item("EVENT", plan.time) if plan.time else 'outcome.values[0]["dt"]'}
    if plan.kind in ("window", "sql"):
        found = {"dt": 'outcome.values[0]["dt"]'}
    found |= {key.name: key.of("EVENT") for key in plan.keys}
    match plan.kind:
        case "function":
            return found | {"source_id": item("EVENT", "meta.id")}
        case "state":
            return found | {"count": "1"}
        case "lookup":
            return found | {"answer": '"yes"'} | ({"count": "1"} if plan.keys else {})
        case "window" | "sql":
            return found | {"window_start": 'outcome.values[0]["window_start"]', "events": "1"}
        case "table" | "materialized":
            return found
        case _:
            assert_never(plan.kind)


def _test(name: str, fixture: str, lines: list[str]) -> str:
    body = "\n".join(f"    {line}" for line in lines)
    return f"{signature(f'test_{name}', fixture, returns='None')}\n{body}\n"


def _run(plan: Plan, events: str, answers: str = "ANSWER") -> str:
    return f"outcome = run(job, [{events}]{_http(plan, answers)})"


def _output(plan: Plan) -> str:
    return _test(
        "an_event_gives_its_output",
        _JOB,
        [
            "job = headwater_job(JOB)",
            _run(plan, "EVENT"),
            "assert outcome.errors == []",
            f"assert outcome.values == [\n        {literal_of(_expected(plan), 2)},\n    ]",
        ],
    )


def _failure(plan: Plan) -> str:
    return _test(
        "an_event_without_its_fields_fails_and_the_next_is_processed",
        _JOB,
        [
            "job = headwater_job(JOB)",
            'empty = {"$schema": EVENT["$schema"], "meta": {}}',
            _run(plan, "empty, EVENT"),
            "assert len(outcome.errors) == 1",
            "assert len(outcome.values) == 1",
        ],
    )


def _retry(plan: Plan) -> str:
    return _test(
        "a_service_that_is_away_for_a_moment_is_asked_again",
        _JOB,
        [
            "job = headwater_job(JOB)",
            _run(plan, "EVENT", "(503, ANSWER)"),
            "assert outcome.errors == []",
            "assert len(outcome.values) == 1",
        ],
    )


def _failed_lookup(plan: Plan) -> str:
    return _test(
        "what_the_service_does_not_know_is_an_error_event",
        _JOB,
        [
            "job = headwater_job(JOB)",
            _run(plan, "EVENT", "404"),
            'assert [error["error_type"] for error in outcome.errors] == ["NOT_FOUND"]',
        ],
    )


def _opened(plan: Plan) -> str:
    return f"project = open_headwater_project(only=[JOB]{_http(plan)})"


def _project(plan: Plan) -> str:
    return _test(
        "it_runs_in_the_project_with_the_real_schemas",
        _PROJECT,
        [
            _opened(plan),
            f"project.{_post(plan)}(EVENT)",
            "project.run_jobs()",
            "assert project.errors(JOB) == []",
            "assert len(project.events(SINK)) == 1",
        ],
    )


def _row(plan: Plan) -> str:
    row = {}
    parts = {key.name: key.path.rpartition(".")[2] for key in plan.keys} if plan.kind == "materialized" else {}
    for column, kind in plan.columns.items():
        path = column if isinstance(kind, str) else kind[1]
        # A materialized table has the parts of its keys under their own names.
        name = parts.get(column, column)
        # JSON is read from a table as text.
        is_json = plan.kind == "table" and "json" in (kind, kind[0])
        row[name] = quoted(json_bytes(get_path(plan.example, path)).decode()) if is_json else item("EVENT", path)
    return _test(
        "the_newest_event_of_a_key_is_its_row",
        _PROJECT,
        [
            _opened(plan),
            'newer = {**EVENT, "meta": {**EVENT["meta"], "id": "newer"}}',
            f"project.{_post(plan)}(EVENT, newer)",
            "project.run_jobs()",
            "assert project.errors(JOB) == []",
            f"assert project.rows(TABLE) == [\n        {literal_of(row, 2)},\n    ]",
        ],
    )
