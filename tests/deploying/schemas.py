"""Strict validation of manifests against the published schemas of Kubernetes: an unknown key fails."""

from __future__ import annotations

from typing import Any

import kubernetes_validate

from headwater.deploy.pods import KUBERNETES_VERSION_MIN, Manifest

# The oldest version that the manifests are for, and one of those that clusters have now.
VERSIONS = (KUBERNETES_VERSION_MIN, "1.34")


def require_valid(manifest: Manifest) -> None:
    """Raises ValidationError."""
    for version in VERSIONS:
        kubernetes_validate.validate(manifest, version, strict=True)


def pods_of(manifest: Manifest) -> list[dict[str, Any]]:
    """The templates of pods in a manifest."""
    template = manifest["spec"].get("template") if "spec" in manifest else None
    return [template] if template else []
