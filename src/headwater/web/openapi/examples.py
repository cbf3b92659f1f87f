"""Examples with which every described operation succeeds, for tools that try out all of them.

They are `x-amples`, as in EventGate's and EventStreams' own descriptions: a request with the parameters of its path and
query, its headers and body, and the status of its response. An operation without a possible example is marked with
`x-monitor: false`, as are those that never end, or that change something.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from headwater.errors import HeadwaterError
from headwater.schemas.workspace.working_copy import Version, version_text
from headwater.web.openapi.parts import unending
from headwater.web.openapi.value_schemas import Node
from headwater.web.schemas.confluent import id_of, number_of
from headwater.web.schemas.repository_index import RepositoryIndex, RepositoryIndexes
from headwater.web.streamconfigs import PATHS as STREAMCONFIGS

_JSON = {"content-type": "application/json"}
_PARTS_OF_IDS = ("", "/schema", "/subjects", "/versions")
_FORM = {"content-type": "application/x-www-form-urlencoded"}
# How many schemas are tried to find one that can be served.
_TRIED_MAX = 50


@dataclass(frozen=True, slots=True)
class _Known:
    """A schema version for examples, under all its names."""

    repository: str
    title: str
    version: Version
    text: str


def with_amples(
    paths: Mapping[str, Node],
    seen: Sequence[str],
    read: Sequence[str],
    indexes: RepositoryIndexes | None,
    tables: Sequence[str] = (),
    *,
    served: Sequence[str] = (),
) -> dict[str, Node]:
    """`paths` with an example in each operation that needs one.

    `seen` and `read` are the names of the public streams, and of those whose events are public; `tables` those of the
    public tables, `served` of served tables that answer a request without parameters.
    """
    amples = {**_always(), **_of_streams(next(iter([*read, *seen]), None)), **_of_schemas(_known(indexes))}
    if read:
        amples["GET /asyncapi/{name}.json"] = _ample(params={"name": read[0]})
    if tables:
        amples["GET /v1/tables/{name}"] = _ample(params={"name": tables[0]})
    for end in ("", "/counts") if served else ():
        amples[f"GET /v1/served/{{name}}{end}"] = _ample(params={"name": served[0]})
    found: dict[str, Node] = {}
    for path, methods in paths.items():
        found[path] = {
            method: _with(described, amples.get(f"{method.upper()} {path}")) for method, described in methods.items()
        }
    return found


def _with(operation: Node, ample: Node | None) -> Node:
    if operation.get("x-monitor") is False or "x-amples" in operation:
        return operation
    if ample is not None:
        return {**operation, "x-amples": [ample]}
    needs_something = "requestBody" in operation or any(one.get("required") for one in operation.get("parameters", ()))
    return unending(operation) if needs_something else operation


def _ample(status: int = 200, **request: Any) -> Node:
    """`request`: params (of the path), query, headers, body."""
    title = "succeeds" if status < HTTPStatus.BAD_REQUEST else "without a key"
    return {"title": title, "request": request, "response": {"status": status}}


def _always() -> dict[str, Node]:
    return {
        "GET /v1/_test/events": _ample(201),
        "GET /v1/stream-changes": _ample(401),
        "GET /v1/stream-changes/{number}": _ample(401, params={"number": 1}),
        "GET /repositories": _ample(308),
        "GET /_info/home": _ample(301),
        **{f"GET {path}": _ample(query={"action": "streamconfigs", "format": "json"}) for path in STREAMCONFIGS},
        **{f"POST {path}": _ample(headers=_FORM, body="action=streamconfigs&format=json") for path in STREAMCONFIGS},
        "GET /clients/{name}": _ample(params={"name": "headwater.js"}),
    }


def _of_streams(name: str | None) -> dict[str, Node]:
    # A dry run works for any event.
    event = {"$schema": "/some/schema/1.0.0", "meta": {"stream": name or "some.stream"}}
    dry_run = _ample(query={"dry_run": True}, headers=_JSON, body=event)
    found = {"POST /v1/events": dry_run, "POST /v2/events": dry_run}
    if name is not None:
        found |= {
            "GET /v1/streams/{name}": _ample(params={"name": name}),
            "GET /v1/completeness": _ample(query={"stream": name}),
            "GET /v1/stream-configs/{names}": _ample(params={"names": name}),
        }
    return found


def _of_schemas(known: _Known | None) -> dict[str, Node]:
    if known is None:
        return {}
    name, version = {"name": known.repository}, version_text(known.version)
    subject, identity = {"subject": known.title}, {"id": id_of(known.title, known.version)}
    of_version = _ample(params={**subject, "version": version})
    of_subject = _ample(params=subject, query={"defaultToGlobal": True})
    posted = _ample(params=subject, headers=_JSON, body={"schemaType": "JSON", "schema": known.text})
    return {
        "GET /repositories/{name}": _ample(308, params=name),
        "GET /repositories/{name}/": _ample(308, params=name),
        "GET /repositories/{name}/jsonschema": _ample(308, params=name),
        "GET /repositories/{name}/jsonschema/": _ample(params=name),
        "GET /repositories/{name}/jsonschema/{directory}/": _ample(params={**name, "directory": known.title}),
        "GET /repositories/{name}/jsonschema/{path}": _ample(params={**name, "path": f"{known.title}/{version}"}),
        "GET /subjects/{subject}/versions": _ample(params=subject),
        "GET /subjects/{subject}/versions/{version}": of_version,
        "GET /subjects/{subject}/versions/{version}/schema": of_version,
        "GET /subjects/{subject}/versions/{version}/referencedby": of_version,
        **{f"GET /schemas/ids/{{id}}{part}": _ample(params=identity) for part in _PARTS_OF_IDS},
        "GET /config/{subject}": of_subject,
        "GET /mode/{subject}": of_subject,
        "POST /subjects/{subject}": posted,
        "POST /subjects/{subject}/versions": posted,
    }


def _known(indexes: RepositoryIndexes | None) -> _Known | None:
    """The first schema that can be served; None if there is none."""
    found = ((index, title) for index in (indexes.indexes if indexes else ()) for title in index.folders)
    for (index, title), _ in zip(found, range(_TRIED_MAX), strict=False):
        known = _newest(index, title)
        if known is not None:
            return known
    return None


def _newest(index: RepositoryIndex, title: str) -> _Known | None:
    folder = index.folders.get(title)
    version = max((one for one in folder.versions if number_of(one) is not None), default=None) if folder else None
    if folder is None or version is None:
        return None
    try:
        text = index.text(folder.versions[version], "json").data.decode()
    except HeadwaterError:
        return None
    return _Known(index.name, title, version, text)
