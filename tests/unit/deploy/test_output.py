"""Manifests as files to commit."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from deploying.projects import KAFKA, new_release
from headwater.deploy.output import KUSTOMIZATION, differing, manifest_files, write_files
from headwater.deploy.platform_manifests import platform_manifests
from headwater.errors import ConfigInvalid


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    return manifest_files(platform_manifests(new_release(tmp_path, {"settings": KAFKA})))


def test_each_object_has_a_file_and_all_are_listed(files: dict[str, str]) -> None:
    objects = {name: yaml.safe_load(text) for name, text in files.items() if name != KUSTOMIZATION}
    assert len(objects) == 7
    for name, manifest in objects.items():
        assert name == f"{manifest['kind'].lower()}-{manifest['metadata']['name']}.yaml"
    assert yaml.safe_load(files[KUSTOMIZATION])["resources"] == list(objects)


def test_only_files_that_differ_are_written(files: dict[str, str], tmp_path: Path) -> None:
    directory = tmp_path / "deploy" / "production"
    assert [path.name for path in write_files(files, directory)] == list(files)
    assert write_files(files, directory) == differing(files, directory) == []
    (directory / "deployment-shop.yaml").write_text("edited: by hand\n")
    (directory / "mine.yaml").write_text("kept: true\n")
    assert [path.name for path in write_files(files, directory)] == ["deployment-shop.yaml"]
    assert (directory / "deployment-shop.yaml").read_text() == files["deployment-shop.yaml"]
    assert (directory / "mine.yaml").exists()


def test_a_directory_that_is_a_file_is_reported(files: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigInvalid, match="cannot be written"):
        write_files(files, tmp_path / "file")
