"""Edits of current files: new schemas, the next version, and references moved to another version of a fragment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headwater.errors import SchemaInvalid, SchemaNotFound
from headwater.event import Event
from headwater.schemas import Validator, open_repositories
from headwater.schemas.limits import ValidationLimits
from headwater.schemas.workspace.fragment_upgrade import edit_of, greatest_version, with_bump, with_reference_moved
from headwater.schemas.workspace.fragment_use import fragment_uses, named_by, users_of
from headwater.schemas.workspace.materialize import Materializer
from headwater.schemas.workspace.new_schema import FIELD_TYPES, new_current
from headwater.schemas.workspace.next_version import advise_bump, next_version
from headwater.schemas.workspace.version_files import version_files, write_changed
from headwater.schemas.workspace.working_copy import WorkingCopy
from headwater.schemas.workspace.yaml_edit import replaced

CURRENT = """\
# Who may edit: everyone.
title: page/edit
$id: "/page/edit/1.0.0"   # the version
$schema: https://json-schema.org/draft-07/schema#
type: object
allOf:
  - {$ref: '/fragment/common/1.0.0#'}   # meta
  - properties:
      bytes: {type: integer}
      meta: {$ref: /fragment/common/1.0.0#/properties/meta}
      note: { description: See /fragment/common/1.0.0 }
"""


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _fragment(version: str, extra: str = "") -> str:
    return (
        f"$id: /fragment/common/{version}\ntype: object\nproperties:\n  meta: {{type: object, properties: "
        f"{{stream: {{type: string}}{extra}}}}}\n"
    )


@pytest.fixture
def copy(tmp_path: Path) -> WorkingCopy:
    _write(tmp_path / ".jsonschema-tools.yaml", "schemaBasePath: .\ncontentTypes: [yaml]\n")
    (tmp_path / ".git").mkdir()
    _write(tmp_path / "fragment/common/1.0.0.yaml", _fragment("1.0.0"))
    _write(tmp_path / "fragment/common/1.1.0.yaml", _fragment("1.1.0", ", id: {type: string}"))
    _write(tmp_path / "fragment/common/current.yaml", _fragment("1.1.0", ", id: {type: string}"))
    _write(tmp_path / "page/edit/current.yaml", CURRENT)
    _write(tmp_path / "page/move/current.yaml", "$id: /page/move/1.0.0\nallOf: [{$ref: /page/edit/1.0.0#}]\n")
    copy = WorkingCopy.open(tmp_path)
    write_changed(
        version_files(Materializer(copy).folder(copy.folder("page/edit")), tmp_path / "page/edit", copy.settings)
    )
    return WorkingCopy.open(tmp_path)


def test_uses_name_the_place_the_version_and_who_is_behind(copy: WorkingCopy) -> None:
    uses = fragment_uses(copy)

    assert [(use.user, use.pointer, use.used, use.is_behind) for use in uses] == [
        ("page/edit", "/allOf/0", "fragment/common", True),
        ("page/edit", "/allOf/1/properties/meta", "fragment/common", True),
        ("page/move", "/allOf/0", "page/edit", False),
    ]
    assert users_of("fragment/common", uses) == {"page/edit": True, "page/move": False}


@pytest.mark.parametrize(
    ("reference", "named"),
    [
        ("/a/b/1.0.0#", ("a/b", (1, 0, 0))),
        ("/a/b/1.0.0.yaml#/x", ("a/b", (1, 0, 0))),
        ("/a/b/latest", ("a/b", None)),
        ("#/x", (None, None)),
        ("./#/x", (None, None)),
    ],
)
def test_a_reference_names_a_title_and_a_version(reference: str, named: Any) -> None:
    assert named_by(reference) == named


def test_moving_references_changes_nothing_else_and_bumps_the_version(copy: WorkingCopy) -> None:
    edit = with_reference_moved(copy, copy.folder("page/edit"), "fragment/common", (1, 1, 0))

    assert edit is not None
    expected = CURRENT.replace("'/fragment/common/1.0.0#'", "'/fragment/common/1.1.0#'")
    expected = expected.replace("common/1.0.0#/properties", "common/1.1.0#/properties")
    assert edit.text == expected.replace('"/page/edit/1.0.0"', '"/page/edit/1.1.0"')
    assert edit.advice.level == "minor"
    assert edit.made.version == (1, 1, 0)
    assert "id" in edit.made.document["properties"]["meta"]["properties"]
    assert with_reference_moved(copy, copy.folder("page/move"), "fragment/common", (1, 1, 0)) is None


def test_only_released_versions_can_be_moved_to(copy: WorkingCopy) -> None:
    assert greatest_version(copy, "fragment/common", None) == (1, 1, 0)
    with pytest.raises(SchemaNotFound, match="no version 3"):
        greatest_version(copy, "fragment/common", "3.0.0")


@pytest.mark.parametrize(
    ("old", "new", "level"),
    [
        ("bytes: {type: integer}", "bytes: {type: integer}", "none"),
        ("bytes: {type: integer}", "bytes: {type: integer, description: how many}", "patch"),
        ("bytes: {type: integer}", "bytes: {type: integer}\n      words: {type: integer}", "minor"),
        ("bytes: {type: integer}", "bytes: {type: string}", "major"),
        ("bytes: {type: integer}", "words: {type: integer}", "major"),
    ],
)
def test_a_version_goes_up_as_far_as_the_change_is_large(copy: WorkingCopy, old: str, new: str, level: str) -> None:
    _write(copy.base / "page/edit/current.yaml", CURRENT.replace(old, new))
    copy = WorkingCopy.open(copy.root)
    folder = copy.folder("page/edit")

    edit = with_bump(copy, folder, edit_of(copy, folder))

    assert edit.advice.level == level
    assert edit.advice.reasons
    assert edit.made.version == next_version((1, 0, 0), level)
    assert with_bump(copy, folder, edit).text == edit.text


def test_an_example_that_names_its_own_version_is_no_change() -> None:
    old = {"$id": "/a/1.0.0", "examples": [{"$schema": "/a/1.0.0", "b": 1}]}

    assert advise_bump(old, {"$id": "/a/1.1.0", "examples": [{"$schema": "/a/1.1.0", "b": 1}]}).level == "none"
    assert advise_bump(old, {"$id": "/a/1.1.0", "examples": [{"$schema": "/a/1.1.0", "b": 2}]}).level == "patch"


@pytest.mark.parametrize("reference", [None, "/fragment/common/1.1.0#"])
def test_a_new_schema_has_a_valid_example(copy: WorkingCopy, reference: str | None) -> None:
    fields = [f"field_{number}:{kind}!" for number, kind in enumerate(FIELD_TYPES)]
    _write(copy.base / "page/new/current.yaml", new_current("page/new", "New.", fields, meta_reference=reference))
    made = Materializer(copy).folder(WorkingCopy.open(copy.root).folder("page/new"))
    write_changed(version_files(made, copy.base / "page/new", copy.settings))

    Validator(open_repositories([str(copy.base)])).check(Event(made.document["examples"][0]))
    assert set(made.document["required"]) >= {f"field_{number}" for number in range(len(fields))}


@pytest.mark.parametrize(("title", "field"), [("Page", "a"), ("page//edit", "a"), ("../x", "a"), ("page", "a:widget")])
def test_a_new_schema_with_a_name_that_cannot_be_is_refused(title: str, field: str) -> None:
    with pytest.raises(SchemaInvalid):
        new_current(title, "", [field])


def test_a_value_is_replaced_in_the_quotes_it_has() -> None:
    text = "a: \"x\"  # one\nb: 'x'\nc: x\nd: [x, {e: x}]\nü: >\n  x\n"

    edited, changes = replaced(text, "here", lambda value: "y: z" if value.value == "x" else None, ValidationLimits())

    assert edited == "a: \"y: z\"  # one\nb: 'y: z'\nc: 'y: z'\nd: ['y: z', {e: 'y: z'}]\nü: >\n  x\n"
    assert [(value.pointer, value.line) for value, _ in changes] == [
        ("/a", 1),
        ("/b", 2),
        ("/c", 3),
        ("/d/0", 4),
        ("/d/1/e", 4),
    ]
