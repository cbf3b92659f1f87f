"""Schemas as TypedDicts: names, optional fields, and a module that Python accepts for every real schema."""

from __future__ import annotations

import typing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from headwater.cli.main import main
from headwater.schemas.repository import LocalRepository
from headwater.schemas.types.python import class_name, python_module
from headwater.schemas.types.read import read_types
from requirements import fixtures_folder, requires_fixtures

PRIMARY = fixtures_folder() / "schemas" / "primary" / "jsonschema"


def module_of(*documents: dict[str, Any]) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(
        compile(python_module([read_types(document) for document in documents]), "types", "exec", dont_inherit=True),
        names,
    )
    return names


def test_every_kind_of_field_has_its_type() -> None:
    shop = {
        "title": "shop/order",
        "$id": "/shop/order/1.0.0",
        "type": "object",
        "required": ["$schema", "item"],
        "properties": {
            "$schema": {"type": "string"},
            "item": {"type": "string", "description": 'The "item"\nordered.'},
            "pieces": {"type": "integer"},
            "price": {"type": "number"},
            "paid": {"type": ["boolean", "null"]},
            "at": {"type": "string", "format": "date-time"},
            "lines": {"type": "array", "items": {"type": "object", "properties": {"class": {"type": "string"}}}},
            "tags": {"type": "object", "additionalProperties": {"type": "string"}},
            "anything": {},
            "open": {"type": "object"},
            'a"b': {"type": "string"},
        },
    }
    names = module_of(shop)
    hints = typing.get_type_hints(names["ShopOrder"], localns=names)
    lines = names["ShopOrderLines"]
    assert hints == {
        "$schema": str,
        "item": str,
        "pieces": int,
        "price": float,
        "paid": bool | None,
        "at": str,
        "lines": list[lines],
        "tags": dict[str, str],
        "anything": Any,
        "open": Any,
        'a"b': str,
    }
    assert names["ShopOrder"].__required_keys__ == {"$schema", "item"}
    # A keyword cannot be declared in a class.
    assert typing.get_type_hints(lines) == {"class": str}


def test_names_do_not_collide() -> None:
    inner = {"type": "object", "properties": {"b": {"type": "string"}}}
    one = {"title": "a", "type": "object", "properties": {"b_c": inner, "b-c": inner}}
    other = {"title": "A", "type": "object", "properties": {"x": {"type": "string"}}}
    names = module_of(one, other)
    assert {"A", "A2", "ABC", "ABC2"} <= names.keys()


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("mediawiki/page/change", "MediawikiPageChange"),
        ("2fa", "_2fa"),
        ("none", "None_"),
        ("äö", "Event"),
        ("a-b_c", "ABC"),
    ],
)
def test_a_class_is_named_after_the_title(title: str, name: str) -> None:
    assert class_name(title) == name


@requires_fixtures(PRIMARY)
def test_every_real_schema_becomes_a_module_that_runs() -> None:
    repository = LocalRepository(PRIMARY)
    paths = sorted(PRIMARY.glob("**/current.yaml"))
    assert paths
    schemas = [
        read_types(
            repository.get(f"/{path.parent.relative_to(PRIMARY)}/latest").document,
            lambda uri: repository.get(uri).document,
        )
        for path in paths
    ]
    names: dict[str, Any] = {}
    exec(compile(python_module(schemas), "types", "exec", dont_inherit=True), names)
    for schema in schemas:
        assert class_name(schema.title or "") in names
    for made in list(names.values()):
        if typing.is_typeddict(made):
            typing.get_type_hints(made, localns=names)


def test_the_verb_writes_a_file_and_checks_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()
    assert runner.invoke(main, ["init", "shop"]).exit_code == 0
    monkeypatch.chdir(tmp_path / "shop")
    write = ["codegen", "python", "--output", "event_types.py"]
    assert runner.invoke(main, [*write, "--check"]).exit_code == 1
    assert not Path("event_types.py").exists()
    assert runner.invoke(main, write).exit_code == 0
    assert "class DemoEditMeta(TypedDict):" in Path("event_types.py").read_text()
    assert runner.invoke(main, [*write, "--check"]).exit_code == 0
    refused = runner.invoke(main, ["codegen", "python", "demo/edti"])
    assert refused.exit_code == 1
    assert "There is no schema demo/edti" in refused.output
