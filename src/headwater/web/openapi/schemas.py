"""The OpenAPI description of the schema repositories: their list, directories and files."""

from __future__ import annotations

from headwater.web.openapi.parts import HTML, JSON, TEXT, answer, header, operation, path, problems, query
from headwater.web.openapi.value_schemas import Node, anything, array_of, integer, record, ref, text
from headwater.web.paths import REPOSITORIES, SCHEMA_FOLDER

TAG = "Schemas"
YAML = "application/yaml"
_PAGE = text("The same as a page, if `Accept` asks for text/html.")


def schemas() -> dict[str, Node]:
    """The schemas that the operations here refer to."""
    repository = record({"name": text(), "schemas": integer("Number of schemas."), "path": text("URL of its schemas.")})
    listing = record({"repositories": array_of(repository), "all": text("URL of the schemas of all repositories.")})
    hit = record({"repository": text(), "title": text(), "fields": array_of(text(), "The fields that match.")})
    found = record({"query": text(), "found": array_of(hit, "Best first.")})
    directory = {
        "path": text(),
        "directories": array_of(text(), "The directories below it."),
        "repository": text("The repository of the schema."),
        "title": text("The title of the schema; only if the directory is that of a schema."),
        "versions": array_of(text(), "Its versions, oldest first."),
        "latest": text("The latest of them.", nullable=True),
    }
    optional = ("repository", "title", "versions", "latest")
    return {
        "repositories": {"anyOf": [listing, found]},
        "schema_directory": record(directory, optional=optional),
        "json_schema": anything("A JSON schema, as it is in its repository.") | {"minProperties": 1},
    }


def paths() -> dict[str, Node]:
    """Path → operations."""
    name = path("name", "The repository, or `all` for all of them merged.")
    inside = f"{REPOSITORIES}/{{name}}/{SCHEMA_FOLDER}"
    top = _directory("schemaRepository", "The top directory of a repository", [name])
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
        **{address: {"get": _shortened(*described)} for address, described in shorter.items()},
    }


def _repositories() -> Node:
    return operation(
        "repositories",
        TAG,
        "The schema repositories, or a search through them",
        {"200": answer("The repositories, or the search results", {JSON: ref("repositories"), HTML: _PAGE})},
        parameters=[query("q", "Words that must all occur in a schema's title, description or fields.")],
    )


def _directory(operation_id: str, summary: str, parameters: list[Node]) -> Node:
    listing = {JSON: ref("schema_directory"), HTML: _PAGE}
    return operation(
        operation_id, TAG, summary, {"200": answer("Its contents", listing), **_refusals()}, parameters=parameters
    )


def _file(name: Node) -> Node:
    where = (
        "Title and version, such as `page/change/1.2.0`; `latest` and `current` are versions too. An extension "
        "`.json` or `.yaml` selects the format, otherwise `Accept` does (default: YAML). Also the Markdown files in it."
    )
    held = {"etag": "A strong entity tag.", "content-location": "The version of `latest` or `current`."}
    schema = {JSON: ref("json_schema"), YAML: text("The unchanged file."), TEXT: text("A Markdown file.")}
    return operation(
        "schemaFile",
        TAG,
        "A version of a schema",
        {
            "200": answer("The schema", {**schema, HTML: _PAGE}, held),
            "304": answer("Not modified"),
            "308": answer("A directory: its URL ends with a slash", headers={"location": "The URL."}),
            **_refusals(),
        },
        parameters=[name, path("path", where), header("If-None-Match", "The ETag of the client's copy.")],
    )


def _refusals() -> dict[str, Node]:
    refused = problems(
        {
            "400": "Not the path of a schema",
            "404": "Unknown repository, schema or version; the hint names the nearest",
            "500": "The file is not a valid schema",
            "503": "The file cannot be read at the moment",
        }
    )
    for one in refused.values():
        one["content"][HTML] = {"schema": _PAGE}
    return refused


def _shortened(operation_id: str, parameters: list[Node]) -> Node:
    to = answer("Redirect of a shortened URL to its directory", headers={"location": "Its URL."})
    return operation(operation_id, TAG, "Redirect to the directory", {"308": to}, parameters=parameters)
