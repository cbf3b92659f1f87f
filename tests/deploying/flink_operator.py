"""The schema of a FlinkDeployment, from the released archive of Flink's operator, made strict.

How this works: Maven fetches the archive by its coordinates, with a pinned checksum; nothing of it is in this
repository. The definition in it names the version of its schema; everywhere keys are listed, others are refused. The
release that can be fetched ends its list of Flink versions before 2.0, so those of Flink 2 are added.
"""

from __future__ import annotations

import functools
import zipfile
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from requirements import check_need
from servers.failure import ServerError
from servers.java import Jars, find_java

JAVA_VERSION_MIN = 11
ARCHIVE = Jars(
    "flink-kubernetes-operator-api-1.10.0",
    ("org.apache.flink:flink-kubernetes-operator-api:1.10.0",),
    Path(__file__).with_name("flink_operator.sha256"),
    alone=True,
)
DEFINITION = "META-INF/fabric8/flinkdeployments.flink.apache.org-v1.yml"
FLINK_2 = ("v2_0", "v2_1", "v2_2")


def deployment_schema() -> dict[str, Any]:
    """The strict schema; skips the test, or fails it, if the archive cannot be had."""
    java = find_java(JAVA_VERSION_MIN)
    check_need("kubernetes-crd", ARCHIVE.missing(java, JAVA_VERSION_MIN) is None, "install Java and Maven")
    assert java is not None
    try:
        folder = ARCHIVE.resolve(java)
    except ServerError as error:
        check_need("kubernetes-crd", None, str(error))
        raise
    return _schema(next(folder.iterdir()))


@functools.cache
def _schema(archive: Path) -> dict[str, Any]:
    with zipfile.ZipFile(archive) as opened:
        # Half a megabyte, which only the loader in C reads in a second.
        definition = yaml.load(opened.read(DEFINITION), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    (version,) = [one for one in definition["spec"]["versions"] if one["name"] == "v1beta1"]
    schema: dict[str, Any] = _strict(version["schema"]["openAPIV3Schema"])
    schema["properties"] |= {"apiVersion": {"const": "flink.apache.org/v1beta1"}, "kind": {"const": "FlinkDeployment"}}
    # What Kubernetes itself defines.
    schema["properties"]["metadata"] = {"type": "object"}
    versions = schema["properties"]["spec"]["properties"]["flinkVersion"]["enum"]
    assert FLINK_2[0] not in versions, "a newer release of the operator: leave the added versions out"
    versions += FLINK_2
    return schema


def _strict(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _strict(value) for key, value in schema.items()}
    is_closed = "properties" in made and isinstance(made["properties"], dict)
    if is_closed and not made.get("x-kubernetes-preserve-unknown-fields"):
        made.setdefault("additionalProperties", False)
    if made.get("x-kubernetes-int-or-string"):
        made.pop("type", None)
    return made


def require_valid_deployment(manifest: dict[str, Any]) -> None:
    """Raises jsonschema.ValidationError."""
    jsonschema.Draft202012Validator(deployment_schema()).validate(manifest)
