"""`headwater schema`: the table of its verbs."""

from __future__ import annotations

import click

from headwater.cli.verbs import Table, Verbs

VERBS: Table = {
    "new": ("headwater.cli.schema_new", "Start a schema."),
    "materialize": ("headwater.cli.schema_materialize", "Make version files from current files."),
    "dereference": ("headwater.cli.schema_dereference", "Print schemas without $ref and allOf."),
    "check": ("headwater.cli.schema_check", "Ask every rule: files, content, compatibility, releases."),
    "bump": ("headwater.cli.schema_bump", "Suggest and write the next version."),
    "graph": ("headwater.cli.schema_graph", "Show who uses which fragment version, and who is behind."),
    "upgrade-fragment": ("headwater.cli.schema_upgrade_fragment", "Move schemas to another version of a fragment."),
    "compat": ("headwater.cli.schema_compat", "Say whether data and tables survive the step between two schemas."),
    "diff": ("headwater.cli.schema_diff", "Show what changed between two versions of a schema, field by field."),
    "docs": ("headwater.cli.schema_docs", "Write pages about schemas."),
    "import": ("headwater.cli.schema_import", "Take over a repository or a registry export."),
    "serve": ("headwater.cli.schema_serve", "Serve schema repositories over HTTP."),
    "types": ("headwater.cli.schema_types", "A schema's fields in the types of a database or format."),
    "validate": ("headwater.cli.schema_validate", "Judge every event of a file by its schema."),
    "legacy": ("headwater.cli.schema_legacy", "The verbs and flags of jsonschema-tools."),
}


@click.command(
    cls=Verbs,
    table=VERBS,
    short_help="Work with schemas and judge events by them.",
    epilog="Example:  headwater schema validate events.jsonl",
)
def command() -> None:
    """Work with schemas and judge events by them."""
