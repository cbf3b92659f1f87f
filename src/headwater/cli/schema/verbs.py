"""`headwater schema`: the table of its verbs."""

from __future__ import annotations

import click

from headwater.cli.verbs import Table, Verbs

VERBS: Table = {
    "new": ("headwater.cli.schema.new", "Start a schema."),
    "materialize": ("headwater.cli.schema.materialize", "Make version files from current files."),
    "dereference": ("headwater.cli.schema.dereference", "Print schemas without $ref and allOf."),
    "check": ("headwater.cli.schema.check", "Ask every rule: files, content, compatibility, releases."),
    "bump": ("headwater.cli.schema.bump", "Suggest and write the next version."),
    "graph": ("headwater.cli.schema.graph", "Show who uses which fragment version, and who is behind."),
    "upgrade-fragment": ("headwater.cli.schema.upgrade_fragment", "Move schemas to another version of a fragment."),
    "compat": ("headwater.cli.schema.compat", "Say whether data and tables survive the step between two schemas."),
    "diff": ("headwater.cli.schema.diff", "Show what changed between two versions of a schema, field by field."),
    "docs": ("headwater.cli.schema.docs", "Write pages about schemas."),
    "import": ("headwater.cli.schema.import_", "Take over a repository or a registry export."),
    "serve": ("headwater.cli.schema.serve", "Serve schema repositories over HTTP."),
    "types": ("headwater.cli.schema.types", "A schema's fields in the types of a database or format."),
    "validate": ("headwater.cli.schema.validate", "Judge every event of a file by its schema."),
    "legacy": ("headwater.cli.schema.legacy", "The verbs and flags of jsonschema-tools."),
}


@click.command(
    cls=Verbs,
    table=VERBS,
    short_help="Work with schemas and judge events by them.",
    epilog="Example:  headwater schema validate events.jsonl",
)
def command() -> None:
    """Work with schemas and judge events by them."""
