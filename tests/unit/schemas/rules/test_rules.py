"""Each rule of a schema repository finds what breaks it, where it is written, and nothing where nothing is wrong."""

from __future__ import annotations

import contextlib
import copy
import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from headwater.errors import ConfigInvalid, HeadwaterError
from headwater.schemas.compatibility import Mode
from headwater.schemas.rules import RULES, CheckResult, SchemaFinding, Severity, check_schemas
from headwater.schemas.rules.policy import MODES
from headwater.schemas.workspace.materialize import Materializer
from headwater.schemas.workspace.version_files import version_files, write_changed
from headwater.schemas.workspace.working_copy import WorkingCopy

DAY = datetime.date(2026, 6, 1)
SCHEMA: dict[str, Any] = {
    "title": "page/edit",
    "description": "A page was edited.",
    "$id": "/page/edit/1.0.0",
    "$schema": "http://json-schema.org/draft-07/schema#",
    "type": "object",
    "required": ["$schema", "meta", "bytes"],
    "properties": {
        "$schema": {"type": "string", "description": "The URI of this schema."},
        "meta": {
            "type": "object",
            "description": "What every event has.",
            "required": ["stream"],
            "properties": {"stream": {"type": "string", "description": "Where it goes."}},
        },
        "dt": {"type": "string", "format": "date-time", "maxLength": 128, "description": "When it happened."},
        "bytes": {"type": "integer", "minimum": 0, "maximum": 100, "description": "The size of the page."},
        "tags": {
            "type": "array",
            "description": "What the edit is marked with.",
            "items": {
                "type": "object",
                "required": ["tag"],
                "properties": {"tag": {"type": "string", "description": "The name."}},
            },
        },
        "links": {"type": "object", "description": "By kind.", "additionalProperties": {"type": "integer"}},
    },
    "examples": [{"$schema": "/page/edit/1.0.0", "meta": {"stream": "page.edit"}, "bytes": 1}],
}
Edit = Callable[[dict[str, Any]], object]


def repository(root: Path, *schemas: dict[str, Any], settings: dict[str, Any] | None = None) -> WorkingCopy:
    """A repository with these current files and what they come to."""
    (root / "jsonschema").mkdir(parents=True, exist_ok=True)
    known = {"schemaBasePath": "./jsonschema", "contentTypes": ["yaml"]}
    links = {"shouldSymlinkExtensionless": False, "shouldSymlinkLatest": False}
    (root / ".jsonschema-tools.yaml").write_text(yaml.safe_dump({**known, **links, **(settings or {})}))
    for schema in schemas:
        write(root, schema["title"], "current", schema)
        made(root, schema["title"])
    return WorkingCopy.open(root)


def write(root: Path, title: str, name: str, schema: dict[str, Any]) -> Path:
    file = root / "jsonschema" / title / f"{name}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(schema, sort_keys=False))
    return file


def made(root: Path, title: str) -> None:
    copied = WorkingCopy.open(root)
    # Without the verb's own look at whether it is a schema: rules find what came in otherwise, too.
    with contextlib.suppress(HeadwaterError):
        one = Materializer(copied, [title]).folder(copied.folder(title))
        write_changed(version_files(one, copied.base / one.title, copied.settings))


def edited(edit: Edit | None = None, base: dict[str, Any] = SCHEMA) -> dict[str, Any]:
    schema = copy.deepcopy(base)
    if edit is not None:
        edit(schema)
    return schema


def check(root: Path, **options: Any) -> CheckResult:
    return check_schemas(WorkingCopy.open(root), today=DAY, **options)


def found(result: CheckResult) -> set[tuple[str, str]]:
    """(rule, pointer) of everything that nobody waived."""
    return {(finding.rule.id, finding.pointer) for finding in result.findings if finding.waived is None}


def only(result: CheckResult, rule: str) -> SchemaFinding:
    matching = [finding for finding in result.findings if finding.rule.id == rule]
    assert len(matching) == 1, result.findings
    return matching[0]


def field(name: str, schema: Any) -> Edit:
    return lambda document: document["properties"].update({name: schema})


def under(path: str, **values: Any) -> Edit:
    def edit(document: dict[str, Any]) -> None:
        for step in path.strip("/").split("/") if path else ():
            document = document[step]
        for name, value in values.items():
            document.pop(name, None) if value is ... else document.update({name: value})

    return edit


# What breaks a rule in a current file (and so in the version made from it), and where it is said.
BROKEN: list[tuple[str, Edit, str]] = [
    ("schema-is-valid", under("properties/bytes", minimum="none"), "/properties/bytes/minimum"),
    ("schema-is-valid", under("properties/bytes", type="int"), "/properties/bytes/type"),
    ("schema-is-secure", under("properties/dt", maxLength=...), "/properties/dt"),
    ("schema-is-secure", field("code", {"type": "string", "pattern": "^a"}), "/properties/code"),
    ("schema-is-secure", field("ids", {"type": "array", "uniqueItems": True, "items": {"type": "object"}}), ""),
    ("schema-snake-case-properties", field("pageId", {"type": "string"}), "/properties/pageId"),
    ("schema-snake-case-properties", field("a-b", {"type": "string"}), "/properties/a-b"),
    ("schema-snake-case-properties", field("_x", {"type": "string"}), "/properties/_x"),
    ("schema-deterministic-types", field("any", {"description": "d"}), "/properties/any"),
    ("schema-deterministic-types", field("two", {"type": ["string", "null"]}), "/properties/two"),
    ("schema-deterministic-types", field("list", {"type": "array"}), "/properties/list"),
    ("schema-deterministic-types", field("list", {"type": "array", "items": {}}), "/properties/list"),
    ("schema-deterministic-types", field("thing", {"type": "object"}), "/properties/thing"),
    (
        "schema-deterministic-types",
        field("m", {"type": "object", "additionalProperties": {"type": ["string", "integer"]}}),
        "/properties/m/additionalProperties",
    ),
    ("schema-deterministic-types", field("e", {"type": "string", "enum": ["a", None]}), "/properties/e"),
    (
        "schema-deterministic-types",
        field("o", {"oneOf": [{"type": "string"}, {"type": "integer"}]}),
        "/properties/o/oneOf",
    ),
    (
        "schema-deterministic-types",
        field("o", {"oneOf": [{"type": "object", "required": [one]} for one in ("a", "b")]}),
        "/properties/o/oneOf",
    ),
    ("schema-required-properties-exist", under("properties/meta", required=["stream", "id"]), "/properties/meta"),
    ("schema-examples-are-valid", under("", examples=[{"$schema": "/page/edit/1.0.0", "bytes": 1}]), "/examples/0"),
    ("schema-examples-are-valid", lambda one: one["examples"][0].update(bytes=101), "/examples/0/bytes"),
    (
        "schema-examples-$schema-matches-schema-$id",
        lambda one: one["examples"][0].update({"$schema": "/page/edit/0.9.0"}),
        "/examples/0",
    ),
    ("schema-enforced-numeric-bounds", under("properties/bytes", maximum=1e17), "/properties/bytes"),
    ("schema-materializes", under("", allOf=[{"$ref": "/fragment/none/1.0.0#"}]), ""),
    ("schema-compiles", field("code", {"type": "string", "pattern": "^(?=a)b", "maxLength": 9}), ""),
    ("schema-compiles", field("code", {"type": "string", "format": "never-heard-of", "maxLength": 9}), ""),
    ("keyword-misspelt", under("properties/dt", mexLength=128), "/properties/dt/mexLength"),
    ("keyword-unknown", under("properties/dt", owner="me"), "/properties/dt/owner"),
    ("keyword-without-effect", under("properties/bytes", maxLength=8), "/properties/bytes/maxLength"),
    ("keyword-without-effect", under("properties/tags", minimum=1), "/properties/tags/minimum"),
    ("bounds-contradict", field("n", {"type": "integer", "minimum": 5, "maximum": 4}), "/properties/n/minimum"),
    ("bounds-contradict", field("s", {"type": "string", "minLength": 5, "maxLength": 4}), "/properties/s/minLength"),
    (
        "bounds-contradict",
        field("n", {"type": "number", "exclusiveMinimum": 1, "maximum": 1}),
        "/properties/n/exclusiveMinimum",
    ),
    ("value-of-other-type", field("e", {"type": "string", "enum": ["a", False]}), "/properties/e/enum/1"),
    ("value-of-other-type", field("e", {"type": "integer", "default": "1"}), "/properties/e/default"),
    ("enum-values-distinct", field("e", {"type": "string", "enum": ["a", "b", "a"]}), "/properties/e/enum"),
    ("enum-values-distinct", field("e", {"type": "number", "enum": [1, 1.0]}), "/properties/e/enum"),
    ("enum-values-distinct", field("e", {"enum": []}), "/properties/e/enum"),
    ("dialect-name", under("", **{"$schema": "https://json-schema.org/draft-07/schema#"}), "/$schema"),
    ("dialect-name", under("", **{"$schema": "http://json-schema.org/draft/2020-12/schema"}), "/$schema"),
    (
        "nested-required-properties-exist",
        under("properties/tags/items", required=["tag", "id"]),
        "/properties/tags/items/required",
    ),
    (
        "nested-snake-case-properties",
        under("properties/tags/items/properties", tagName={"type": "string"}),
        "/properties/tags/items/properties/tagName",
    ),
    (
        "nested-snake-case-properties",
        under("properties/links", additionalProperties={"type": "object", "properties": {"aB": {"type": "string"}}}),
        "/properties/links/additionalProperties/properties/aB",
    ),
    ("names-collide", field("Bytes", {"type": "string"}), "/properties/Bytes"),
    ("names-collide", field("_schema", {"type": "string"}), "/properties/_schema"),
    ("name-reserved-in-sql", field("select", {"type": "string"}), "/properties/select"),
    (
        "date-time-name",
        field("created", {"type": "string", "format": "date-time", "maxLength": 128}),
        "/properties/created",
    ),
    ("type-null", field("nothing", {"type": "null"}), "/properties/nothing"),
    (
        "free-form-object",
        field("any", {"type": "object", "additionalProperties": True}),
        "/properties/any/additionalProperties",
    ),
    ("dialect-declared", under("", **{"$schema": ...}), ""),
    ("dialect-declared", under("", **{"$schema": "https://example.org/mine"}), "/$schema"),
    ("event-schema-present", under("", required=["meta", "bytes"]), "/required"),
    ("meta-present", under("", required=["$schema", "bytes"]), "/required"),
    ("meta-present", under("properties/meta", required=...), "/properties/meta"),
    ("dt-present", under("properties", dt=...), "/properties"),
    ("dt-present", field("dt", {"type": "string"}), "/properties/dt"),
    ("examples-present", under("", examples=...), ""),
    ("description-present", under("", description=...), ""),
    ("fields-described", field("bare", {"type": "string"}), "/properties/bare"),
    (
        "meta-is-kept",
        under("properties/meta/properties/stream", description="DEPRECATED: use the topic."),
        "/properties/meta/properties/stream",
    ),
    (
        "user-kinds-are-booleans",
        field("user_types", {"type": "array", "items": {"type": "string"}}),
        "/properties/user_types",
    ),
]


def test_a_schema_that_keeps_every_rule_has_no_findings(tmp_path: Path) -> None:
    repository(tmp_path, edited())
    result = check(tmp_path)
    assert result.findings == []
    assert (list(result.titles), result.documents, list(result.skipped)) == (["page/edit"], 2, [])


@pytest.mark.parametrize(("rule", "edit", "pointer"), BROKEN, ids=[f"{one[0]}-{at}" for at, one in enumerate(BROKEN)])
def test_a_rule_finds_what_breaks_it_and_points_at_it(tmp_path: Path, rule: str, edit: Edit, pointer: str) -> None:
    root = tmp_path
    repository(root, edited(edit))
    result = check(root)
    breaches = [finding for finding in result.findings if finding.rule.id == rule]
    assert [one for one in breaches if one.pointer.startswith(pointer)], result.findings
    finding = breaches[0]
    assert finding.message
    assert (finding.severity, finding.line is not None) == (RULES[rule].severity, True)
    if finding.pointer:
        written = (root / str(finding.file)).read_text().splitlines()[(finding.line or 0) - 1]
        steps = finding.pointer.split("/")
        assert any(step in written or step.isdecimal() for step in steps), written


def _second(root: Path, edit: Edit, version: str = "1.1.0", *, materialize: bool = True) -> None:
    """The next version of the schema, edited."""

    def next_one(one: dict[str, Any]) -> None:
        one["$id"] = f"/page/edit/{version}"
        one["examples"][0]["$schema"] = one["$id"]
        edit(one)

    write(root, "page/edit", "current", edited(next_one))
    if materialize:
        made(root, "page/edit")


def _rename(root: Path, old: str, new: str) -> None:
    (root / "jsonschema" / old).rename(root / "jsonschema" / new)


def _deeper(root: Path, name: str) -> None:
    _rename(root, name, "moved")
    (root / "jsonschema/wiki").mkdir()
    _rename(root, "moved", f"wiki/{name}")


def _append(root: Path, name: str, text: str) -> None:
    file = root / "jsonschema" / name
    file.write_text(file.read_text() + text)


FILES: list[tuple[str, Callable[[Path], object]]] = [
    ("title-matches-directory", lambda root: _rename(root, "page/edit", "page/edits")),
    ("version-title", lambda root: _rename(root, "page/edit", "page/edits")),
    ("version-id", lambda root: _rename(root, "page/edit", "page/edits")),
    ("version-id-exact", lambda root: _deeper(root, "page")),
    ("title-in-one-directory", lambda root: write(root, "page/copy", "current", edited())),
    ("current-present", lambda root: (root / "jsonschema/page/edit/current.yaml").unlink()),
    ("current-without-link", lambda root: (root / "jsonschema/page/edit/current").symlink_to("current.yaml")),
    ("version-present", lambda root: (root / "jsonschema/page/edit/1.0.0.yaml").unlink()),
    ("current-is-greatest", lambda root: _second(root, field("x", {"type": "string"}), materialize=False)),
    ("current-is-greatest", lambda root: write(root, "page/edit", "1.0.1", edited())),
    (
        "current-is-materialized",
        lambda root: write(root, "page/edit", "current", edited(field("x", {"type": "string"}))),
    ),
    ("version-text", lambda root: _append(root, "page/edit/1.0.0.yaml", "# By hand.\n")),
    ("file-name", lambda root: write(root, "page/edit", "v1.0.1", edited())),
    ("file-name", lambda root: write(root, "nowhere", "1.0", edited())),
    ("schema-readable", lambda root: (root / "jsonschema/page/edit/1.0.0.yaml").write_text("a: [1")),
    ("schema-readable", lambda root: (root / "jsonschema/page/edit/current.yaml").write_text("- not\n- an object\n")),
    ("schema-version-compatibility", lambda root: _second(root, under("properties/bytes", type="string"))),
    ("schema-version-compatibility", lambda root: _second(root, under("properties", links=...))),
    (
        "meta-is-kept",
        lambda root: _second(root, under("properties/meta/properties", stream=..., id={"type": "string"})),
    ),
    (
        "title-without-version",
        lambda root: repository(root, edited(under("", title="page/v2", **{"$id": "/page/v2/1.0.0"}))),
    ),
]


@pytest.mark.parametrize(("rule", "spoil"), FILES, ids=[f"{one[0]}-{at}" for at, one in enumerate(FILES)])
def test_a_rule_about_files_and_versions_finds_what_breaks_it(
    tmp_path: Path, rule: str, spoil: Callable[[Path], object]
) -> None:
    repository(tmp_path, edited())
    spoil(tmp_path)
    assert rule in {finding.rule.id for finding in check(tmp_path).findings}


def test_links_and_content_types_are_asked_for_where_the_settings_say_so(tmp_path: Path) -> None:
    settings = {"contentTypes": ["yaml", "json"], "shouldSymlinkExtensionless": True, "shouldSymlinkLatest": True}
    repository(tmp_path, edited(), settings=settings)
    assert check(tmp_path).findings == []

    directory = tmp_path / "jsonschema/page/edit"
    (directory / "1.0.0").unlink()
    (directory / "latest.yaml").unlink()
    (directory / "latest.yaml").write_text("a copy")
    (directory / "1.0.0.json").write_text('{"title": "page/edit"}')
    rules = {finding.rule.id for finding in check(tmp_path).findings}
    assert {"extensionless-link", "latest-links", "content-types-equal"} <= rules

    (directory / "1.0.0.json").unlink()
    assert "content-types-present" in {finding.rule.id for finding in check(tmp_path).findings}


def test_one_misplaced_directory_hides_nothing_that_is_wrong_elsewhere(tmp_path: Path) -> None:
    other = edited(under("", title="page/view", **{"$id": "/page/view/1.0.0"}))
    other["examples"][0]["$schema"] = "/page/view/1.0.0"
    other["properties"]["pageId"] = {"type": "string"}
    repository(tmp_path, edited(), other)
    _rename(tmp_path, "page/edit", "page/astray")
    (tmp_path / "jsonschema/page/broken").mkdir()
    (tmp_path / "jsonschema/page/broken/current.yaml").write_text("a: [1")
    rules = {(finding.subject, finding.rule.id) for finding in check(tmp_path).findings}
    expected = {
        ("page/astray", "title-matches-directory"),
        ("page/broken", "schema-readable"),
        ("page/view", "schema-snake-case-properties"),
    }
    assert expected <= rules


def test_findings_say_the_line_and_column_in_the_file_the_author_edits(tmp_path: Path) -> None:
    repository(tmp_path)
    text = yaml.safe_dump(edited(), sort_keys=False).replace(
        "  bytes:\n", "  # Of the text.\n  pageBytes:\n    type: string\n  bytes:\n"
    )
    file = tmp_path / "jsonschema/page/edit/current.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    made(tmp_path, "page/edit")
    finding = only(check(tmp_path), "schema-snake-case-properties")
    line = text.splitlines().index("  pageBytes:") + 1
    assert finding.place == f"jsonschema/page/edit/current.yaml:{line}:3"
    assert finding.hint is not None
    assert "page_bytes" in finding.hint


def test_a_finding_in_a_fragment_is_reported_where_the_fragment_is_included(tmp_path: Path) -> None:
    fragment = edited(under("", title="fragment/x", examples=..., **{"$id": "/fragment/x/1.0.0"}))
    user = edited(under("", allOf=[{"$ref": "/fragment/x/1.0.0#"}]))
    del user["properties"]
    user["properties"] = {"BYTES": {"type": "integer", "description": "Not again."}}
    repository(tmp_path, fragment, user)
    found_here = [
        one for one in check(tmp_path).findings if one.rule.id == "names-collide" and one.subject == "page/edit"
    ]
    assert [finding.file for finding in found_here] == ["jsonschema/page/edit/current.yaml"]
    assert found_here[0].line


def test_a_fragment_that_is_behind_is_noted(tmp_path: Path) -> None:
    fragment = edited(under("", title="fragment/x", examples=..., **{"$id": "/fragment/x/1.0.0"}))
    repository(tmp_path, fragment, edited(under("", allOf=[{"$ref": "/fragment/x/1.0.0#"}])))
    newer = edited(field("more", {"type": "string", "description": "More."}), fragment)
    newer["$id"] = "/fragment/x/1.1.0"
    write(tmp_path, "fragment/x", "current", newer)
    made(tmp_path, "fragment/x")
    assert "1.1.0" in only(check(tmp_path), "fragment-behind").message


def test_a_flattened_entity_is_found_where_a_fragment_declares_the_entity(tmp_path: Path) -> None:
    entity = {
        "title": "fragment/state/entity/page",
        "$id": "/fragment/state/entity/page/1.0.0",
        "$schema": "http://json-schema.org/draft-07/schema#",
        "description": "A page.",
        "type": "object",
        "properties": {"page_title": {"type": "string", "description": "Its name."}},
    }
    repository(tmp_path, entity, edited(field("page_title", {"type": "string", "description": "Its name."})))
    finding = only(check(tmp_path), "entities-stay-nested")
    assert (finding.subject, finding.pointer) == ("page/edit", "/properties/page_title")


def test_a_skip_list_exempts_by_the_names_of_the_original(tmp_path: Path) -> None:
    settings = {"skipSchemaTestCases": {"page/.*/1": ["schema-snake-case-properties"]}}
    repository(tmp_path, edited(field("pageId", {"type": "string", "description": "It."})), settings=settings)
    result = check(tmp_path)
    assert result.findings == []
    assert list(result.skipped) == [("schema-snake-case-properties", "/page/edit/1.0.0")]


def _waiver(**values: str) -> dict[str, Any]:
    waiver = {
        "rule": "schema-snake-case-properties",
        "schema": "page/*",
        "reason": "Old clients.",
        "until": "2026-12-31",
    }
    return {"headwater": {"waivers": [{**waiver, **values}]}}


def test_a_waiver_covers_until_its_day_and_then_says_so(tmp_path: Path) -> None:
    repository(tmp_path, edited(field("pageId", {"type": "string", "description": "It."})), settings=_waiver())
    copied = WorkingCopy.open(tmp_path)
    before = check_schemas(copied, today=datetime.date(2026, 12, 31))
    assert {finding.waived for finding in before.findings} == {"Old clients."}
    assert before.of(Severity.ERROR) == []

    after = check_schemas(copied, today=datetime.date(2027, 1, 1))
    rules = {finding.rule.id for finding in after.of(Severity.ERROR)}
    assert rules == {"schema-snake-case-properties", "waiver-expired"}


def test_a_waiver_for_one_place_covers_no_other_and_an_unused_one_is_reported(tmp_path: Path) -> None:
    schema = edited(field("pageId", {"type": "string", "description": "It."}))
    schema["properties"]["pageName"] = {"type": "string", "description": "It."}
    repository(tmp_path, schema, settings=_waiver(pointer="/properties/pageId"))
    assert {one.pointer for one in check(tmp_path).of(Severity.ERROR)} == {"/properties/pageName"}

    repository(tmp_path, settings=_waiver(pointer="/properties/none"))
    assert "waiver-unused" in {finding.rule.id for finding in check(tmp_path).findings}


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"waivers": [{"rule": "schema-is-secure", "schema": "*", "until": "2026-12-31"}]}, "no `reason`"),
        ({"waivers": [{"rule": "schema-is-secure", "schema": "*", "reason": "r"}]}, "no `until`"),
        ({"waivers": [{"rule": "schema-is-secured", "schema": "*", "reason": "r", "until": "2026-12-31"}]}, "is not"),
        ({"waivers": [{"rule": "schema-is-secure", "schema": "*", "reason": "r", "until": "2026-02-30"}]}, "not a day"),
        ({"waivers": [{"rule": "schema-is-secure", "schema": "*", "reason": "r", "until": "soon"}]}, "soon"),
        ({"waivers": "all"}, "not a list"),
        ({"rules": {"no-such-rule": "error"}}, "no-such-rule"),
        ({"rules": {"schema-is-secure": "fatal"}}, "fatal"),
        ({"compatibility": "SOMEHOW"}, "SOMEHOW"),
        ({"complexity": 1}, "complexity"),
    ],
)
def test_settings_about_rules_that_cannot_be_are_refused(tmp_path: Path, own: dict[str, Any], said: str) -> None:
    (tmp_path / "jsonschema").mkdir()
    (tmp_path / ".jsonschema-tools.yaml").write_text(yaml.safe_dump({"schemaBasePath": "jsonschema", "headwater": own}))
    with pytest.raises(ConfigInvalid) as refused:
        check(tmp_path)
    # The misspelt rule is answered with the nearest one, the others with what was written.
    assert said in str(refused.value) or "schema-is-secure" in str(refused.value.hint)


def test_a_rule_can_be_graver_milder_or_off(tmp_path: Path) -> None:
    rules = {"schema-snake-case-properties": "warning", "fields-described": "error", "dt-present": "off"}
    schema = edited(field("pageId", {"type": "string"}))
    del schema["properties"]["dt"]
    repository(tmp_path, schema, settings={"headwater": {"rules": rules}})
    result = check(tmp_path)
    severities = {finding.rule.id: finding.severity for finding in result.findings}
    assert severities == {"schema-snake-case-properties": Severity.WARNING, "fields-described": Severity.ERROR}


@pytest.mark.parametrize(
    ("mode", "edit", "broken"),
    [
        ("EVENT", under("properties/bytes", maximum=...), False),
        ("LEGACY", under("", title="page/edit", required=["$schema", "meta"]), True),
        ("EVENT", under("", required=["$schema", "meta"]), False),
        ("FULL", under("", required=["$schema", "meta"]), True),
        ("NONE", under("properties/bytes", type="string"), False),
    ],
)
def test_the_settings_choose_the_compatibility_mode(tmp_path: Path, mode: str, edit: Edit, broken: bool) -> None:
    repository(tmp_path, edited(), settings={"headwater": {"compatibility": mode}})
    _second(tmp_path, edit)
    result = check(tmp_path)
    assert ("schema-version-compatibility" in {one.rule.id for one in result.findings}) == broken
    assert result.mode == mode


def test_a_broken_step_is_shown_by_an_instance_before_the_version_is_made(tmp_path: Path) -> None:
    repository(tmp_path, edited())
    _second(tmp_path, under("properties/bytes", maximum=10), materialize=False)
    finding = only(check(tmp_path), "schema-version-compatibility")
    assert finding.file == "jsonschema/page/edit/current.yaml"
    assert 10 < finding.witness["bytes"] <= 100


def test_the_modes_in_settings_are_those_of_the_engine() -> None:
    assert set(MODES) == {mode.value for mode in Mode}


def test_processes_find_what_one_process_finds(tmp_path: Path) -> None:
    schemas = []
    for at in range(6):
        schema = edited(under("", title=f"page/s{at}", **{"$id": f"/page/s{at}/1.0.0"}))
        schema["examples"][0]["$schema"] = f"/page/s{at}/1.0.0"
        schema["properties"]["pageId"] = {"type": "string"}
        schemas.append(schema)
    repository(tmp_path, *schemas)
    assert check(tmp_path, processes=2).findings == check(tmp_path, processes=1).findings


def test_every_rule_has_a_case_that_breaks_it() -> None:
    elsewhere = {
        *("latest-links", "content-types-present", "extensionless-link", "content-types-equal", "fragment-behind"),
        *("entities-stay-nested", "waiver-expired", "waiver-unused"),
        # In git: tests/end_to_end/test_schema_check.py.
        *("version-immutable", "version-was-changed"),
    }
    assert {one[0] for one in BROKEN} | {one[0] for one in FILES} | elsewhere == set(RULES)
