"""Strict validation of manifests against the published schemas of Kubernetes: an unknown key fails."""

from __future__ import annotations

from typing import Any

import jsonschema
import kubernetes_validate

from headwater.deploy.pods import KUBERNETES_VERSION_MIN, Manifest

# The oldest version that the manifests are for, and one of those that clusters have now.
VERSIONS = (KUBERNETES_VERSION_MIN, "1.34")


_LABELS = {"type": "object", "additionalProperties": {"type": "string"}}


def _closed(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


# The keys that we use of the definition of Prometheus's operator, as its reference describes them: no registry has it.
POD_MONITOR = _closed(
    ["apiVersion", "kind", "metadata", "spec"],
    apiVersion={"const": "monitoring.coreos.com/v1"},
    kind={"const": "PodMonitor"},
    metadata=_closed(["name", "labels"], name={"type": "string"}, namespace={"type": "string"}, labels=_LABELS),
    spec=_closed(
        ["selector", "podMetricsEndpoints"],
        selector=_closed(
            ["matchLabels"],
            matchLabels=_LABELS,
            matchExpressions={
                "type": "array",
                "items": _closed(
                    ["key", "operator"],
                    key={"type": "string"},
                    operator={"enum": ["In", "NotIn", "Exists", "DoesNotExist"]},
                    values={"type": "array", "items": {"type": "string"}, "minItems": 1},
                ),
            },
        ),
        podMetricsEndpoints={
            "type": "array",
            "items": _closed(["port"], port={"type": "string"}, path={"type": "string", "pattern": "^/"}),
            "minItems": 1,
        },
    ),
)


def require_valid(manifest: Manifest) -> None:
    """Raises ValidationError, of jsonschema for a kind that is not of Kubernetes itself."""
    if manifest["kind"] == "PodMonitor":
        jsonschema.Draft202012Validator(POD_MONITOR).validate(manifest)
        return
    for version in VERSIONS:
        kubernetes_validate.validate(manifest, version, strict=True)


def pods_of(manifest: Manifest) -> list[dict[str, Any]]:
    """The templates of pods in a manifest."""
    template = manifest["spec"].get("template") if "spec" in manifest else None
    return [template] if template else []
