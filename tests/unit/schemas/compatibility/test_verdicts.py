"""Verdicts on small pairs of schemas: what is proved, what is shown, and what is honestly not known."""

from __future__ import annotations

from typing import Any

import pytest

from headwater.errors import ConfigInvalid, SchemaInvalid
from headwater.schemas.compatibility import (
    Mode,
    check_evolution,
    compare,
    judge,
    legacy_refusal,
    mode_named,
    suggest_bump,
)
from headwater.schemas.dialect import DRAFT_2020_12


def field(**rules: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"x": rules}}


def verdicts(old: Any, new: Any, **options: Any) -> tuple[str, str]:
    comparison = compare(old, new, **options)
    return comparison.backward.verdict, comparison.forward.verdict


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"type": "integer", "maximum": 10}, {"type": "integer", "exclusiveMaximum": 11}),
        ({"type": "integer", "exclusiveMinimum": 0.5}, {"type": "integer", "minimum": 1}),
        ({"type": "integer", "multipleOf": 0.5}, {"type": "integer"}),
        ({"allOf": [{"multipleOf": 2}, {"multipleOf": 3}], "type": "integer"}, {"type": "integer", "multipleOf": 6}),
        ({"enum": [1, 2, 3]}, {"type": "integer", "minimum": 1, "maximum": 3}),
        ({"enum": [True, False]}, {"type": "boolean"}),
        ({"type": "string", "pattern": "^(a|b)+$"}, {"type": "string", "pattern": "^[ab]+$"}),
        ({"type": "string", "pattern": "^[0-9]{3}$"}, {"type": "string", "pattern": r"^\d\d\d$", "maxLength": 3}),
        ({"not": {"not": {"type": "string"}}}, {"type": "string"}),
        ({"not": {"anyOf": [{"type": "string"}, {"type": "null"}]}}, {
            "type": ["number", "boolean", "array", "object"]}),
        (
            {"if": {"required": ["a"]}, "then": {"required": ["b"]}},
            {"anyOf": [{"not": {"required": ["a"]}}, {"required": ["b"]}]},
        ),
        ({"type": "object", "dependencies": {"a": ["b"]}}, {
            "type": "object", "dependencies": {"a": {"required": ["b"]}}}),
        ({"type": "array", "contains": {"const": 1}}, {"type": "array", "not": {"items": {"not": {"const": 1}}}}),
        ({"type": "array", "items": [{"type": "null"}], "additionalItems": {"type": "null"}}, {
            "type": "array", "items": {"type": "null"}}),
        ({"type": "array", "items": {"type": "boolean"}, "uniqueItems": True}, {
            "type": "array", "items": {"type": "boolean"}, "uniqueItems": True, "maxItems": 2}),
        ({"type": "object", "propertyNames": {"enum": ["a", "b"]}}, {
            "type": "object", "propertyNames": {"pattern": "^[ab]$"}, "maxProperties": 2}),
        ({"type": "object", "patternProperties": {"^a": False}}, {
            "type": "object", "propertyNames": {"pattern": "^[^a]|^$"}}),
        ({"oneOf": [{"minimum": 5}, {"maximum": 5}], "type": "number"}, {"type": "number", "not": {"const": 5}}),
    ],
)  # fmt: skip
def test_two_ways_to_say_the_same_are_the_same(old: Any, new: Any) -> None:
    assert verdicts(old, new, content_model="strict") == ("yes", "yes")


def test_recursive_schemas_are_compared_through_their_recursion() -> None:
    def tree(value: str) -> dict[str, Any]:
        children = {"type": "array", "items": {"$ref": "#"}}
        return {"type": "object", "properties": {"value": {"type": value}, "children": children}, "required": ["value"]}

    assert verdicts(tree("integer"), tree("number")) == ("yes", "no")


def test_a_recursion_unrolled_once_is_the_same_recursion() -> None:
    def node(next_one: str) -> dict[str, Any]:
        return {"type": "object", "properties": {"next": {"$ref": next_one}}, "additionalProperties": False}

    once = {"$ref": "#/definitions/n", "definitions": {"n": node("#/definitions/n")}}
    twice = {"$ref": "#/definitions/n", "definitions": {"n": node("#/definitions/m"), "m": node("#/definitions/n")}}
    assert verdicts(once, twice) == ("yes", "yes")


def test_a_recursion_that_no_finite_value_ends_accepts_nothing() -> None:
    endless = {"type": "object", "properties": {"next": {"$ref": "#"}}, "required": ["next"]}
    assert verdicts(endless, {"type": "string"}) == ("yes", "no")


def test_unevaluated_properties_depend_on_the_branch_that_holds() -> None:
    def branch(kind: str, name: str) -> dict[str, Any]:
        return {"properties": {"kind": {"const": kind}, name: {"type": "string"}}, "required": ["kind"]}

    old = {"type": "object", "oneOf": [branch("a", "x"), branch("b", "y")], "unevaluatedProperties": False}
    listed = {"kind": {"enum": ["a", "b"]}, "x": {"type": "string"}, "y": {"type": "string"}}
    new = {"type": "object", "properties": listed, "required": ["kind"], "additionalProperties": False}
    assert verdicts(old, new, dialect=DRAFT_2020_12) == ("yes", "no")


def test_every_reason_is_reported_with_its_own_instance() -> None:
    old = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer"}}}
    new = {"type": "object", "properties": {"a": {"type": "boolean"}, "b": {"type": "integer", "minimum": 0}}}
    reasons = compare(old, new).backward.reasons
    assert {(reason.pointer, reason.keyword) for reason in reasons} == {("/a", "type"), ("/b", "minimum")}
    assert all(reason.pointer[1:] in reason.witness for reason in reasons)


def test_a_long_string_is_shown_where_only_a_long_one_will_do() -> None:
    answer = compare(field(type="string", pattern="^[a-z]*$"), field(type="string", maxLength=50_000)).backward
    assert len(answer.witness["x"]) == 50_001


def test_an_expression_that_is_not_regular_is_unknown_and_not_guessed() -> None:
    answer = compare(field(type="string", format="regex"), field(type="string", pattern="^[^z]*$")).backward
    assert answer.verdict in ("no", "unknown")
    answer = compare(field(type="string", format="url"), field(type="string", format="uri-template")).backward
    assert answer.verdict == "unknown"
    assert answer.doubt


def test_an_expression_that_is_not_regular_is_no_obstacle_where_both_sides_have_it() -> None:
    old, new = field(type="string", format="hostname"), field(type="string", format="hostname", minLength=1)
    assert compare(old, new).forward.verdict == "yes"


def test_a_comparison_without_end_is_given_up_and_called_unknown() -> None:
    old = {"type": "string", "pattern": "(a|b)*a(a|b){14}$"}
    assert compare(old, {"type": "string", "pattern": "(a|b)*a(a|b){14}b?$"}).backward.verdict in ("yes", "unknown")


def test_the_content_keywords_say_nothing_neither_here_nor_to_the_validator() -> None:
    old, new = (
        field(type="string", minLength=1),
        field(type="string", contentEncoding="base64", contentMediaType="a/json"),
    )
    answer = compare(old, new)
    assert (answer.backward.verdict, answer.forward.witness) == ("yes", {"x": ""})


def test_what_is_no_schema_is_refused() -> None:
    with pytest.raises(SchemaInvalid, match="not a valid schema"):
        compare({"type": "strin"}, {})


def test_a_reference_to_another_schema_needs_a_repository() -> None:
    with pytest.raises(SchemaInvalid, match=r"/fragment/common/1\.0\.0"):
        compare({"allOf": [{"$ref": "/fragment/common/1.0.0#"}]}, {})


@pytest.mark.parametrize(
    ("old", "new", "verdict"),
    [
        (field(type="integer"), field(type="number"), "no"),
        (field(type="string"), field(type="string", format="date-time"), "no"),
        (field(type="string"), field(type=["string", "null"]), "yes"),
        (field(type="string"), {"type": "object", "properties": {"y": {"type": "string"}}}, "no"),
        (field(type="string"), field(enum=["a"]), "n/a"),
        (field(type="object"), field(type="object", additionalProperties={"type": "string"}), "n/a"),
        (field(type="array", items={"type": "string"}), field(type="array", items={"type": "boolean"}), "no"),
    ],
)
def test_tables_survive_or_not(old: Any, new: Any, verdict: str) -> None:
    assert compare(old, new).storage.verdict == verdict


@pytest.mark.parametrize(
    ("new", "step"),
    [
        (field(type="string", description="what it is"), "patch"),
        ({"type": "object", "properties": {"x": {"type": "string"}, "y": {"type": "string"}}}, "minor"),
        ({"type": "object", "properties": {"x": {"type": "string"}, "y": {}}}, "minor"),
        (field(type="string", enum=["a"]), "major"),
        ({"type": "object", "properties": {}}, "major"),
    ],
)
def test_the_step_follows_from_the_verdicts(new: Any, step: str) -> None:
    assert suggest_bump(compare(field(type="string"), new)) == step


def test_a_transitive_mode_sees_what_neighbours_hide() -> None:
    versions = [
        ("1.0.0", field(type="string", enum=["a", "b"])),
        ("1.2.0", field(type="string", enum=["a"])),
        ("1.1.0", field(type="string")),
    ]
    assert [finding.old_version for finding in check_evolution(versions, "BACKWARD")] == ["1.1.0"]
    assert {finding.old_version for finding in check_evolution(versions, "BACKWARD_TRANSITIVE")} == {"1.0.0", "1.1.0"}


def test_majors_are_apart_unless_asked_for() -> None:
    versions = [("1.0.0", field(type="string")), ("2.0.0", field(type="integer"))]
    assert check_evolution(versions, Mode.FULL) == []
    assert len(check_evolution(versions, Mode.FULL, scope="all-majors")) == 2


def test_the_event_mode_lets_bounds_in_that_materializing_adds() -> None:
    bounded = field(type="integer", minimum=-9007199254740991, maximum=9007199254740991)
    assert check_evolution([("1.0.0", field(type="integer")), ("1.1.0", bounded)]) == []
    assert check_evolution([("1.0.0", field(type="integer")), ("1.1.0", bounded)], "BACKWARD") != []


def test_the_event_mode_lets_no_field_go_even_without_a_column() -> None:
    findings = judge(field(enum=["a"]), {"type": "object", "properties": {}}, Mode.EVENT)
    assert [(rule, reason.pointer) for rule, _, reason in findings] == [("compatibility.removal", "/x")]


def test_an_unknown_mode_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigInvalid, match="BACKWARD_TRANSITIVE"):
        mode_named("SIDEWAYS")


@pytest.mark.parametrize("name", ["required", "enum"])
def test_the_rule_of_old_stops_at_a_field_named_as_a_list_it_knows(name: str) -> None:
    schema = {"type": "object", "properties": {name: {"type": "string"}}}
    assert legacy_refusal(schema, schema) is not None


def test_the_rule_of_old_looks_away_from_a_field_named_description() -> None:
    old = {"properties": {"description": {"type": "string"}}}
    assert legacy_refusal(old, {"properties": {"description": {"type": "integer"}}}) is None
