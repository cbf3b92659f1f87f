"""Manifests as files to commit: one for each object, and a `kustomization.yaml` that lists them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from headwater.deploy.pods import Manifest
from headwater.deploy.written_yaml import yaml_text
from headwater.errors import ConfigInvalid

KUSTOMIZATION = "kustomization.yaml"
NOTICE = "# Written by `headwater`: change the project or its environment, and write it again.\n"


def manifest_files(manifests: Sequence[Manifest]) -> dict[str, str]:
    """File name → text. A file of an earlier time that `kustomization.yaml` no longer lists is not applied."""
    files: dict[str, str] = {}
    for manifest in manifests:
        files[f"{manifest['kind'].lower()}-{manifest['metadata']['name']}.yaml"] = NOTICE + yaml_text(manifest)
    if len(files) != len(manifests):
        raise ValueError("two manifests have one name")
    listed = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": list(files)}
    return {**files, KUSTOMIZATION: NOTICE + yaml_text(listed)}


def write_files(files: Mapping[str, str], directory: Path) -> list[Path]:
    """Write the files that differ; returns those. Raises ConfigInvalid if that is impossible."""
    changed = differing(files, directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for path in changed:
            path.write_text(files[path.name], encoding="utf-8")
    except OSError as error:
        raise ConfigInvalid(f"{error.filename} cannot be written: {error.strerror}.") from None
    return changed


def differing(files: Mapping[str, str], directory: Path) -> list[Path]:
    """The files that are not there, or have another content."""
    paths = [directory / name for name in files]
    return [path for path in paths if not path.is_file() or path.read_bytes() != files[path.name].encode()]
