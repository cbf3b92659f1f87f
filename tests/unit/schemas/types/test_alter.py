"""What a table needs to hold the next version of its schema, and what no table can."""

from __future__ import annotations

import re
from typing import Any

import pytest

from headwater.schemas.types.alter import AlterOptions
from headwater.schemas.types.read import read_types
from headwater.schemas.types.targets import TARGETS, plan_alter

TEXT = {"type": "string"}
WHOLE_NUMBER = {"type": "integer"}


def _plan(old: dict[str, Any], new: dict[str, Any], target: str, **allow: bool) -> Any:
    typed = [
        read_types({"title": "t", "$id": f"/t/1.{minor}.0", "type": "object", **schema})
        for minor, schema in enumerate((old, new))
    ]
    return plan_alter(*typed, target, allow=AlterOptions(**allow))


def _of(*names: str, required: tuple[str, ...] = (), **fields: Any) -> dict[str, Any]:
    return {"properties": {**dict.fromkeys(names, TEXT), **fields}, "required": list(required)}


def _object(*names: str, required: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"type": "object", **_of(*names, required=required)}


@pytest.mark.parametrize(
    ("target", "statement"),
    [
        ("postgres", 'ALTER TABLE "t" ADD COLUMN "b" BIGINT;\n'),
        ("mysql", "ALTER TABLE `t` ADD COLUMN `b` BIGINT;\n"),
        ("duckdb", 'ALTER TABLE "t" ADD COLUMN "b" BIGINT;\n'),
        ("iceberg", "ALTER TABLE `t` ADD COLUMNS (`b` BIGINT);\n"),
        ("spark", "ALTER TABLE `t` ADD COLUMNS (`b` BIGINT);\n"),
        ("hive", "ALTER TABLE `t` ADD COLUMNS (`b` BIGINT);\n"),
        ("flink", "ALTER TABLE `t` ADD (`b` BIGINT);\n"),
    ],
)
def test_a_new_field_is_a_new_column_that_may_be_null(target: str, statement: str) -> None:
    plan = _plan(_of("a"), _of("a", b=WHOLE_NUMBER, required=("b",)), target)
    assert (plan.possible, plan.statements) == (True, (statement,))


@pytest.mark.parametrize(
    ("target", "statement"),
    [
        ("duckdb", 'ALTER TABLE "t" ADD COLUMN "m"."b" VARCHAR;\n'),
        ("iceberg", "ALTER TABLE `t` ADD COLUMNS (`m`.`b` STRING);\n"),
        ("spark", "ALTER TABLE `t` ADD COLUMNS (`m`.`b` STRING);\n"),
        ("hive", "ALTER TABLE `t` CHANGE COLUMN `m` `m` STRUCT<`a`: STRING, `b`: STRING>;\n"),
        ("flink", "ALTER TABLE `t` MODIFY (`m` ROW<`a` STRING, `b` STRING>);\n"),
        ("postgres", None),
        ("mysql", None),
    ],
)
def test_a_new_field_inside_a_column_comes_after_those_that_are_there(target: str, statement: str | None) -> None:
    plan = _plan(_of(m=_object("a")), _of(m=_object("b", "a")), target)
    assert (plan.possible, plan.statements) == (True, (statement,) if statement else ())


@pytest.mark.parametrize(
    ("wrap", "path"),
    [
        (lambda item: {"type": "array", "items": item}, '"m"."element"."b"'),
        (lambda item: {"type": "object", "additionalProperties": item}, '"m"."value"."b"'),
    ],
)
def test_a_new_field_inside_items_and_map_values_is_reached(wrap: Any, path: str) -> None:
    plan = _plan(_of(m=wrap(_object("a"))), _of(m=wrap(_object("a", "b"))), "duckdb")
    assert plan.statements == (f'ALTER TABLE "t" ADD COLUMN {path} VARCHAR;\n',)


@pytest.mark.parametrize(
    ("target", "statement"),
    [
        ("postgres", 'ALTER TABLE "t" ALTER COLUMN "a" DROP NOT NULL;\n'),
        ("duckdb", 'ALTER TABLE "t" ALTER COLUMN "a" DROP NOT NULL;\n'),
        ("iceberg", "ALTER TABLE `t` ALTER COLUMN `a` DROP NOT NULL;\n"),
        ("mysql", "ALTER TABLE `t` MODIFY COLUMN `a` LONGTEXT;\n"),
        ("hive", None),
        ("spark", None),
        ("flink", None),
    ],
)
def test_a_field_that_is_not_required_any_more_may_be_null(target: str, statement: str | None) -> None:
    plan = _plan(_of("a", required=("a",)), _of("a"), target)
    assert (plan.possible, plan.statements) == (True, (statement,) if statement else ())


def test_a_field_that_becomes_required_leaves_the_column_as_older_rows_need_it() -> None:
    plan = _plan(_of("a"), _of("a", required=("a",)), "postgres")
    assert (plan.possible, plan.statements, [change.kind for change in plan.changes]) == (True, (), ["note"])


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (_of("a", "b"), _of("a"), "is no longer in the schema"),
        (_of("a"), _of("b"), "is no longer in the schema"),
        (_of("a"), _of(a=WHOLE_NUMBER), "was string and is integer"),
        (_of(a=WHOLE_NUMBER), _of(a={"type": "number"}), r"2\^53"),
        (_of(a=_object("b")), _of("a"), "was object and is string"),
        (_of("a"), _of(a={"type": "array", "items": TEXT}), "was string and is array of string"),
        (_of(m=_object("a", "b")), _of(m=_object("a")), "is no longer in"),
        (
            _of(m={"type": "array", "items": TEXT}),
            _of(m={"type": "array", "items": WHOLE_NUMBER}),
            "was string and is integer",
        ),
    ],
)
def test_what_would_lose_or_misread_rows_is_refused_and_nothing_else_is_done(
    target: str, old: dict[str, Any], new: dict[str, Any], reason: str
) -> None:
    plan = _plan(old, {**new, "properties": {**new["properties"], "more": TEXT}}, target)
    assert not plan.possible
    assert plan.statements == ()
    assert re.search(reason, plan.refused[0].sentence)


def test_a_rename_is_recognised() -> None:
    assert "renamed to b?" in _plan(_of("a"), _of("b"), "duckdb").refused[0].sentence


def test_dates_that_become_text_are_refused_where_they_are_dates() -> None:
    old, new = _of(a={"type": "string", "format": "date-time"}), _of("a")
    assert {target for target in TARGETS if _plan(old, new, target).possible} == {"hive"}


def test_columns_of_removed_fields_stay_and_may_be_null_where_the_user_says_so() -> None:
    plan = _plan(_of("a", "b", required=("b",)), _of("a"), "postgres", keep_removed=True)
    assert plan.possible
    assert plan.statements == ('ALTER TABLE "t" ALTER COLUMN "b" DROP NOT NULL;\n',)


@pytest.mark.parametrize(
    ("target", "statement"),
    [
        ("postgres", 'ALTER TABLE "t" ALTER COLUMN "a" TYPE DOUBLE PRECISION;\n'),
        ("duckdb", 'ALTER TABLE "t" ALTER COLUMN "a" TYPE DOUBLE;\n'),
        ("mysql", "ALTER TABLE `t` MODIFY COLUMN `a` DOUBLE;\n"),
        ("hive", "ALTER TABLE `t` CHANGE COLUMN `a` `a` DOUBLE;\n"),
        ("iceberg", None),
        ("spark", None),
    ],
)
def test_integers_become_numbers_only_where_the_user_says_so_and_the_target_can(
    target: str, statement: str | None
) -> None:
    plan = _plan(_of(a=WHOLE_NUMBER), _of(a={"type": "number"}), target, widen=True)
    assert (plan.possible, plan.statements) == (statement is not None, (statement,) if statement else ())


def test_comments_of_new_columns_are_statements_where_comments_are() -> None:
    plan = _plan(_of("a"), _of("a", b={**TEXT, "description": "New."}), "postgres")
    assert plan.statements[1:] == ('COMMENT ON COLUMN "t"."b" IS \'New.\';\n',)
