"""The OpenAPI description of the schema registry API: the read endpoints of Confluent's."""

from __future__ import annotations

from headwater.web.http.places import REGISTRY_MEDIA_TYPE as MEDIA_TYPE
from headwater.web.openapi.parts import JSON, answer, content, operation, path, problems, query
from headwater.web.openapi.value_schemas import Node, array_of, boolean, integer, one_of, record, ref, text

TAG = "Schema registry"
_REFUSALS = {
    "404": "Unknown subject, version or schema",
    "413": "The body is over the limit",
    "422": "Invalid version or schema, or the subject is read-only",
    "500": "A schema cannot be read",
}


def schemas() -> dict[str, Node]:
    """The schemas that the operations here refer to."""
    schema_text = text("The JSON schema, as text.")
    registered = {
        "subject": text("A schema's title, or a stream's name followed by `-value`."),
        "version": integer("1.2.3 as 1002003."),
        "id": integer("31 bits of a hash of title and version: the same everywhere."),
        "schemaType": one_of(("JSON",)),
        "schema": schema_text,
    }
    return {
        "registry_error": record({"error_code": integer(), "message": text()}),
        "registered_schema": record(registered),
        "schema_by_id": record({"schemaType": one_of(("JSON",)), "schema": schema_text}),
        "schema_id": record({"id": integer()}),
        "posted_schema": record({"schema": schema_text, "schemaType": one_of(("JSON",))}),
        "compatibility_level": record({"compatibilityLevel": text()}),
        "registry_mode": record({"mode": one_of(("READONLY",))}),
    }


def paths() -> dict[str, Node]:
    """Path → operations."""
    subject, version, id_ = _subject(), _version(), path("id", "The id of a schema.", integer(minimum=0))
    names, numbers = array_of(text()), array_of(integer())
    prefix = query("subjectPrefix", "Only subjects with this prefix.")
    latest = query("latestOnly", "Only the latest version of each.", boolean())
    default = query("defaultToGlobal", "The global value, if the subject has none of its own.", boolean())
    pairs = array_of(record({"subject": text(), "version": integer()}))
    one, raw = ref("registered_schema"), ref("json_schema")
    posting = {
        "/subjects/{subject}": _post("lookUpSchema", "The version of a schema", one, also=("404",)),
        "/subjects/{subject}/versions": _post(
            "registerSchema",
            "The id of an existing schema; new ones are added to the repository",
            ref("schema_id"),
        ),
    }
    reading = {
        "/subjects": _get("subjects", "The subjects", names, [prefix]),
        "/subjects/{subject}/versions": _get("subjectVersions", "The versions of a subject", numbers, [subject]),
        "/subjects/{subject}/versions/{version}": _get("subjectVersion", "One version", one, [subject, version]),
        "/subjects/{subject}/versions/{version}/schema": _get(
            "subjectVersionSchema", "Only the schema of a version", raw, [subject, version]
        ),
        "/subjects/{subject}/versions/{version}/referencedby": _get(
            "subjectVersionReferencedBy", "Ids of the schemas that reference this version", numbers, [subject, version]
        ),
        "/schemas": _get("registeredSchemas", "All schemas", array_of(one), [prefix, latest]),
        "/schemas/types": _get("schemaTypes", "The supported types of schemas", array_of(one_of(("JSON",)))),
        "/schemas/ids/{id}": _get("schemaById", "The schema with an id", ref("schema_by_id"), [id_]),
        "/schemas/ids/{id}/schema": _get("schemaByIdSchema", "Only the schema with an id", raw, [id_]),
        "/schemas/ids/{id}/subjects": _get("schemaByIdSubjects", "The subjects that have a schema", names, [id_]),
        "/schemas/ids/{id}/versions": _get("schemaByIdVersions", "The subjects and versions of a schema", pairs, [id_]),
        "/config": _get("registryConfig", "The compatibility mode", ref("compatibility_level")),
        "/config/{subject}": _get(
            "subjectConfig", "The same for a subject", ref("compatibility_level"), [subject, default]
        ),
        "/mode": _get("registryMode", "The access mode: read-only", ref("registry_mode")),
        "/mode/{subject}": _get("subjectMode", "The same for a subject", ref("registry_mode"), [subject, default]),
    }
    found: dict[str, Node] = {address: {"get": described} for address, described in reading.items()}
    for address, described in posting.items():
        found.setdefault(address, {})["post"] = described
    return found


def _get(operation_id: str, summary: str, schema: Node, parameters: list[Node] | None = None) -> Node:
    named = {parameter["name"] for parameter in parameters or ()}
    statuses = [
        status
        for status, is_possible in (
            ("404", bool(named & {"subject", "id"})),
            ("422", "version" in named),
            ("500", bool(parameters)),
        )
        if is_possible
    ]
    answers = {"200": answer("Success", {MEDIA_TYPE: schema}), **_refusals(statuses)}
    return operation(operation_id, TAG, summary, answers, parameters=parameters)


def _post(operation_id: str, summary: str, schema: Node, also: tuple[str, ...] = ()) -> Node:
    bodies = dict.fromkeys((MEDIA_TYPE, JSON), ref("posted_schema"))
    answers = {"200": answer("Success", {MEDIA_TYPE: schema}), **_refusals(("413", "422", *also))}
    return operation(
        operation_id,
        TAG,
        summary,
        {**answers, **problems({"500": _REFUSALS["500"]})},
        parameters=[_subject()],
        requestBody={"required": True, "content": content(bodies)},
    )


def _refusals(statuses: list[str] | tuple[str, ...]) -> dict[str, Node]:
    return {status: answer(_REFUSALS[status], {MEDIA_TYPE: ref("registry_error")}) for status in statuses}


def _subject() -> Node:
    return path("subject", "A schema's title, or a stream's name followed by `-value`.")


def _version() -> Node:
    return path("version", "`latest`, a number such as 1002003, or a version such as 1.2.3.")
