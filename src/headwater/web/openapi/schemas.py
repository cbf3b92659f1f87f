"""What the OpenAPI document says of the schema repositories: their list, directories and files."""

from __future__ import annotations

from headwater.web.openapi.parts import HTML, JSON, TEXT, answer, header, operation, path, problems, query
from headwater.web.openapi.value_schemas import Node, anything, array_of, integer, record, ref, text
from headwater.web.paths import REPOSITORIES, SCHEMA_FOLDER

TAG = "Schemas"
YAML = "application/yaml"
_PAGE = text("The same as a page, for who accepts text/html.")


def schemas() -> dict[str, Node]:
    """The schemas that the operations here refer to."""
    repository = record({"name": text(), "schemas": integer("How many."), "path": text("Where its schemas are.")})
    listing = record({"repositories": array_of(repository), "all": text("Where the schemas of all are, as one.")})
    hit = record({"repository": text(), "title": text(), "fields": array_of(text(), "The fields that match.")})
    found = record({"query": text(), "found": array_of(hit, "Best first.")})
    directory = {
        "path": text(),
        "directories": array_of(text(), "The directories below it."),
        "repository": text("Where the schema is from."),
        "title": text("The title of the schema; only where the directory is one's."),
        "versions": array_of(text(), "Its versions, oldest first."),
        "latest": text("The greatest of them.", nullable=True),
    }
    optional = ("repository", "title", "versions", "latest")
    return {
        "repositories": {"anyOf": [listing, found]},
        "schema_directory": record(directory, optional=optional),
        "json_schema": anything("A JSON schema, as it stands in its repository.") | {"minProperties": 1},
    }


def paths() -> dict[str, Node]:
    """Path → operations."""
    name = path("name", "The repository, or `all` for all of them as one.")
    inside = f"{REPOSITORIES}/{{name}}/{SCHEMA_FOLDER}"
    top = _directory("schemaRepository", "The top of a repository", [name])
    below = path("directory", "The path of the directory, such as `page/change`.")
    shorter = {
        REPOSITORIES: ("repositoriesShort", []),
        f"{REPOSITORIES}/{{name}}": ("repositoryShort", [name]),
        f"{REPOSITORIES}/{{name}}/": ("repositoryShortSlash", [name]),
        inside: ("schemasShort", [name]),
    }
    return {
        f"{REPOSITORIES}/": {"get": _repositories()},
        f"{inside}/": {"get": top},
        f"{inside}/{{directory}}/": {"get": _directory("schemaDirectory", "A directory of schemas", [name, below])},
        f"{inside}/{{path}}": {"get": _file(name)},
        **{address: {"get": _shortened(*told)} for address, told in shorter.items()},
    }


def _repositories() -> Node:
    return operation(
        "repositories",
        TAG,
        "The schema repositories, or a search through them",
        {"200": answer("The repositories, or what was found", {JSON: ref("repositories"), HTML: _PAGE})},
        parameters=[query("q", "Words that must all be in a schema's title, description or fields.")],
    )


def _directory(operation_id: str, summary: str, parameters: list[Node]) -> Node:
    listing = {JSON: ref("schema_directory"), HTML: _PAGE}
    return operation(
        operation_id, TAG, summary, {"200": answer("What is in it", listing), **_refusals()}, parameters=parameters
    )


def _file(name: Node) -> Node:
    where = (
        "Title and version, such as `page/change/1.2.0`; `latest` and `current` are versions too. With `.json` or "
        "`.yaml` at its end in that form, otherwise as `Accept` prefers, YAML first. Also the Markdown files beside it."
    )
    held = {"etag": "A strong mark of this content.", "content-location": "The version that `latest` or `current` is."}
    schema = {JSON: ref("json_schema"), YAML: text("The file as it stands."), TEXT: text("A Markdown file.")}
    return operation(
        "schemaFile",
        TAG,
        "A version of a schema",
        {
            "200": answer("The schema", {**schema, HTML: _PAGE}, held),
            "304": answer("The client has this already"),
            "308": answer("This is a directory; its address ends with a slash", headers={"location": "The address."}),
            **_refusals(),
        },
        parameters=[name, path("path", where), header("If-None-Match", "The ETag of what the client has.")],
    )


def _refusals() -> dict[str, Node]:
    refused = problems(
        {
            "400": "This is no path of a schema",
            "404": "There is no such repository, schema or version; the hint names the nearest",
            "500": "What stands in the file is no schema",
            "503": "The file cannot be read now",
        }
    )
    for one in refused.values():
        one["content"][HTML] = {"schema": _PAGE}
    return refused


def _shortened(operation_id: str, parameters: list[Node]) -> Node:
    to = answer("The directory that a shortened address means", headers={"location": "Its address."})
    return operation(operation_id, TAG, "To the directory that is meant", {"308": to}, parameters=parameters)
