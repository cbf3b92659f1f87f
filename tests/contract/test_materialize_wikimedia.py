"""Materializing a real schema repository gives its released files back, byte for byte."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from headwater.schemas.workspace.materialize import Materializer
from headwater.schemas.workspace.materialize_all import materialize_all
from headwater.schemas.workspace.version_files import version_files, write_changed
from headwater.schemas.workspace.working_copy import WorkingCopy, version_text
from requirements import at_least_one, fixtures_folder, requires_fixtures

FIXTURES = fixtures_folder() / "schemas"
REPOSITORIES = sorted(path.parent for path in FIXTURES.glob("*/jsonschema"))
# Released files that no longer come out of their current files, with the reason. None are known.
EXCEPTIONS: dict[str, str] = {}

pytestmark = requires_fixtures(FIXTURES)


def _open(path: Path) -> WorkingCopy:
    # The fixture holds the settings file under a name without its leading dot.
    names = [name for name in ("jsonschema-tools.yaml", ".jsonschema-tools.yaml") if (path / name).exists()]
    copy = WorkingCopy.open(path, settings_files=[Path(name) for name in names])
    remote = [base for base in copy.settings.base_uris if base.startswith("http")]
    others = [other for other in REPOSITORIES if other.name != path.name]
    pins: list[dict[str, Any]] = [
        {"path": str(other / "jsonschema"), "replaces": base}
        for base in remote
        for other in others
        if other.name in base
    ]
    overrides = {"headwater": {"repositories": pins}} if pins else None
    return WorkingCopy.open(path, settings_files=[Path(name) for name in names], overrides=overrides)


@pytest.mark.parametrize("path", REPOSITORIES, ids=lambda path: path.name)
def test_every_version_that_a_current_file_names_comes_out_byte_for_byte(path: Path) -> None:
    copy = _open(path)
    materializer = Materializer(copy, copy.schemas)
    different = []
    current = {title: folder for title, folder in copy.schemas.items() if folder.current is not None}
    for title, folder in at_least_one(current).items():
        made = materializer.folder(folder)
        for kind, text in made.texts.items():
            released = folder.path / f"{version_text(made.version)}.{kind}"
            if not released.exists() or released.read_text(encoding="utf-8") != text:
                different.append(title)

    assert sorted(set(different) - set(EXCEPTIONS)) == []


@pytest.mark.parametrize("path", REPOSITORIES, ids=lambda path: path.name)
def test_a_repository_is_built_from_current_files_and_old_versions_alone_in_any_order(
    path: Path, tmp_path: Path
) -> None:
    target = tmp_path / path.name
    shutil.copytree(path, target, symlinks=True)
    expected: dict[str, bytes] = {}
    copy = _open(target)
    for folder in copy.schemas.values():
        if folder.current is not None:
            named = copy.version_named(copy.read(folder.current), folder.title)
            for kind in copy.settings.content_types:
                file = folder.path / f"{named}.{kind}"
                expected[file.relative_to(target).as_posix()] = file.read_bytes()
                file.unlink()

    copy = _open(target)
    titles = [title for title, folder in copy.schemas.items() if folder.current]
    random.Random(7).shuffle(titles)
    result = materialize_all(copy, titles, processes=2)
    write_changed([file for made in result.made for file in version_files(made, copy.base / made.title, copy.settings)])

    assert result.failures == []
    built = {name: (target / name).read_bytes() for name in expected}
    assert {name for name in expected if built[name] != expected[name]} <= set(EXCEPTIONS)
    for folder in _open(target).schemas.values():
        if copy.settings.symlink_extensionless and folder.current:
            for version, file in folder.versions.items():
                assert (folder.path / version_text(version)).resolve() == file.resolve()
