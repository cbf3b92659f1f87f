"""A schema repository on disk: its settings file, its schemas, its versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from headwater.errors import ConfigInvalid, SchemaInvalid, SchemaNotFound
from headwater.schemas.workspace.working_copy import WorkingCopy, coerced_version
from headwater.schemas.workspace.working_settings import PinnedRepository, read_settings


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / ".git").mkdir()
    _write(tmp_path / ".jsonschema-tools.yaml", "schemaBasePath: ./jsonschema/\ncontentTypes: [yaml]\n")
    for version in ("1.0.0", "1.10.0", "1.2.0"):
        _write(tmp_path / f"jsonschema/page/edit/{version}.yaml", f"$id: /page/edit/{version}\n")
    _write(tmp_path / "jsonschema/page/edit/current.yaml", "$id: /page/edit/1.10.0\n")
    (tmp_path / "jsonschema/page/edit/latest.yaml").symlink_to("1.10.0.yaml")
    _write(tmp_path / "jsonschema/fragment/meta/current.yaml", "$id: /fragment/meta/0.1.0\n")
    _write(tmp_path / "jsonschema/node_modules/x/current.yaml", "$id: /x/1.0.0\n")
    _write(tmp_path / "jsonschema/page/edit/CHANGELOG.md", "text")
    return tmp_path


def test_schemas_are_listed_by_title_with_their_versions_in_order(root: Path) -> None:
    copy = WorkingCopy.open(root)

    assert list(copy.schemas) == ["fragment/meta", "page/edit"]
    edit = copy.schemas["page/edit"]
    assert list(edit.versions) == [(1, 0, 0), (1, 2, 0), (1, 10, 0)]
    assert edit.latest == (1, 10, 0)
    assert edit.uri((1, 2, 0)) == "/page/edit/1.2.0"
    assert copy.schemas["fragment/meta"].latest is None


def test_the_repository_is_found_from_a_directory_inside_it(root: Path) -> None:
    copy = WorkingCopy.open(root / "jsonschema" / "page")

    assert copy.root == root
    assert copy.folder_of(root / "jsonschema/page/edit/current.yaml").title == "page/edit"


def test_one_folder_is_found_without_walking_the_rest(root: Path) -> None:
    copy = WorkingCopy.open(root)

    assert copy.folder("/page/edit").title == "page/edit"
    assert "schemas" not in vars(copy)
    for absent in ("page", "../..", "page/none"):
        with pytest.raises(SchemaNotFound):
            copy.folder(absent)


def test_ignored_schemas_are_invisible(root: Path) -> None:
    copy = WorkingCopy.open(root, overrides={"ignoreSchemas": ["/page/edit/1.2.0", "^/fragment/"]})

    assert list(copy.schemas) == ["page/edit"]
    assert list(copy.schemas["page/edit"].versions) == [(1, 0, 0), (1, 10, 0)]


def test_a_later_settings_file_wins_and_defaults_of_the_original_fill_the_rest(tmp_path: Path) -> None:
    first = _write(tmp_path / "a.yaml", "contentTypes: json, \nlogLevel: info\n".replace(", ", ""))
    second = _write(tmp_path / "b.yaml", "logLevel: debug\nunknownKey: 3\nenforcedNumericBounds: false\n")

    settings = read_settings([first, tmp_path / "absent.yaml", second], root=tmp_path)

    assert (settings.content_types, settings.log_level, settings.numeric_bounds) == (("json",), "debug", None)
    assert settings.symlink_extensionless
    assert settings.symlink_latest
    assert settings.current_file == "current.json"


def test_pinned_repositories_stand_under_our_own_key(tmp_path: Path) -> None:
    file = _write(
        tmp_path / "a.yaml",
        "headwater:\n  repositories:\n    - path: vendor/primary\n      replaces: https://schemas.example/x\n"
        "      commit: abc\n      sha256: FF\n",
    )

    settings = read_settings([file], root=tmp_path)

    assert settings.pinned == (PinnedRepository(tmp_path / "vendor/primary", "https://schemas.example/x", "abc", "ff"),)
    assert not settings.online


@pytest.mark.parametrize(
    "text",
    [
        "contentTypes: [xml]",
        "shouldDereference: 3",
        "ignoreSchemas: ['[']",
        "enforcedNumericBounds: [1]",
        "skipSchemaTestCases: [a]",
        "headwater: {repositories: [{commit: a}]}",
        "headwater: {onlin: true}",
        "- a",
        "a: [",
    ],
)
def test_a_settings_file_that_cannot_be_meant_is_refused_with_its_name(tmp_path: Path, text: str) -> None:
    file = _write(tmp_path / "settings.yaml", text)

    with pytest.raises(ConfigInvalid, match=r"settings\.yaml"):
        read_settings([file], root=tmp_path)


def test_skips_are_searched_anywhere_in_the_identifier(tmp_path: Path) -> None:
    file = _write(tmp_path / "a.yaml", "skipSchemaTestCases:\n  'page/.*': [one, two]\n  '^nothing': [three]\n")

    settings = read_settings([file], root=tmp_path)

    assert settings.skipped_cases("/page/edit/1.0.0") == {"one", "two"}


@pytest.mark.parametrize(
    ("text", "version"),
    [("1.2.3", "1.2.3"), ("1.0", "1.0.0"), ("v2", "2.0.0"), ("2.0.0-rc.1", "2.0.0"), ("x", None)],
)
def test_a_version_is_read_as_generously_as_the_original_does(text: str, version: str | None) -> None:
    assert coerced_version(text) == version


def test_a_document_says_its_version_and_where_it_does_not(root: Path) -> None:
    copy = WorkingCopy.open(root)

    assert copy.version_named({"$id": "/w3c/report/1.2.3"}, "a") == "1.2.3"
    with pytest.raises(SchemaInvalid, match="has no"):
        copy.version_named({}, "a")
    with pytest.raises(SchemaInvalid, match="names no version"):
        copy.version_named({"$id": "/a/b"}, "a")
