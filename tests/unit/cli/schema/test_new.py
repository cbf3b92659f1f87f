"""`headwater schema new`: whatever it is asked to include, the schema it writes passes the check, example and all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from headwater.cli.main import main
from headwater.schemas.workspace.new_schema import FIELD_TYPES

TEXT = {"type": "string", "description": "A text.", "maxLength": 100}
NUMBER = {"type": "integer", "description": "A number."}
SCHEMA_FIELD = {"$schema": TEXT}
META = {
    "type": "object",
    "description": "About the event.",
    "required": ["stream"],
    "properties": {"stream": {**TEXT, "minLength": 1}},
}
LOOSE_META = {"type": "object", "description": "About the event.", "properties": {"id": TEXT}}
STRICT_META = {**META, "required": ["stream", "domain"], "properties": {**META["properties"], "domain": TEXT}}  # type: ignore[dict-item]
DT = {"dt": {"type": "string", "description": "When.", "format": "date-time", "maxLength": 64}}


def run(*arguments: str) -> str:
    done = CliRunner().invoke(main, ["schema", *arguments])
    assert done.exit_code == 0, f"{arguments}: {done.output}"
    return done.output


def fragment(title: str, properties: dict[str, Any], required: list[str]) -> None:
    document = {
        "title": title,
        "description": "A part.",
        "$id": f"/{title}/1.0.0",
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "required": required,
        "properties": properties,
    }
    file = Path("jsonschema", title, "current.yaml")
    file.parent.mkdir(parents=True)
    file.write_text(yaml.safe_dump(document), encoding="utf-8")


@pytest.fixture
def _repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jsonschema").mkdir()
    (tmp_path / ".jsonschema-tools.yaml").write_text("schemaBasePath: ./jsonschema\ncontentTypes: [yaml]\n")


@pytest.mark.usefixtures("_repository")
@pytest.mark.parametrize("released", [True, False], ids=["released", "current only"])
@pytest.mark.parametrize(
    ("properties", "required"),
    [
        ({"wiki": TEXT}, ["wiki"]),
        ({"wiki": TEXT}, []),
        (SCHEMA_FIELD, ["$schema"]),
        (SCHEMA_FIELD, []),
        ({"meta": META}, ["meta"]),
        ({"meta": META}, []),
        ({"meta": LOOSE_META}, ["meta"]),
        ({"meta": STRICT_META, **SCHEMA_FIELD}, ["$schema", "meta"]),
        ({**SCHEMA_FIELD, "meta": META, **DT}, ["$schema", "meta", "dt"]),
        ({**SCHEMA_FIELD, "meta": META, **DT}, ["$schema", "meta"]),
        (
            {
                "pages": {"type": "array", "description": "Pages.", "minItems": 1, "items": TEXT},
                "size": {**NUMBER, "minimum": 500},
                "below": {**NUMBER, "maximum": -5},
                "kind": {"type": "string", "description": "A kind.", "enum": ["new", "old"]},
                "code": {**TEXT, "pattern": "^[a-z]{3}$"},
                "who": {
                    "type": "object",
                    "description": "Who.",
                    "required": ["name"],
                    "properties": {"name": TEXT, "age": NUMBER},
                },
            },
            ["pages", "size", "below", "kind", "code", "who"],
        ),
    ],
)
def test_a_schema_that_takes_in_any_fragment_passes_the_check(
    properties: dict[str, Any], required: list[str], released: bool
) -> None:
    fragment("fragment/part", properties, required)
    if released:
        run("materialize")
    fields = [part for place, kind in enumerate(FIELD_TYPES) for part in ("--field", f"f_{place}:{kind}!")]
    run("new", "page/edit", "--include", "/fragment/part/1.0.0#", "--description", "A page was edited.", *fields)
    run("materialize")
    run("check", "page/edit")


@pytest.mark.usefixtures("_repository")
@pytest.mark.parametrize("title", ["fragment/part", "fragment/common"])
def test_a_hint_names_a_fragment_that_is_there_or_none(title: str) -> None:
    bare = {
        "title": "page/edit",
        "description": "A page was edited.",
        "$id": "/page/edit/1.0.0",
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "properties": {"wiki": TEXT},
        "examples": [{"wiki": "enwiki"}],
    }
    file = Path("jsonschema/page/edit/current.yaml")
    file.parent.mkdir(parents=True)
    file.write_text(yaml.safe_dump(bare), encoding="utf-8")
    run("materialize")
    said = CliRunner().invoke(main, ["schema", "check", "page/edit"]).output
    assert "/fragment/" not in said
    assert "`headwater schema new` writes a schema that has it" in " ".join(said.split())
    fragment(title, {**SCHEMA_FIELD, "meta": META}, ["$schema", "meta"])
    run("materialize")
    said = CliRunner().invoke(main, ["schema", "check", "page/edit"]).output
    assert said.count(f"/{title}/1.0.0#") == 2
