"""`headwater schema`: the table of its verbs."""

from __future__ import annotations

import click

from headwater.cli.verbs import Table, Verbs

VERBS: Table = {
    "new": ("headwater.cli.schema.new", "Create a schema."),
    "materialize": ("headwater.cli.schema.materialize", "Write version files from current files."),
    "dereference": ("headwater.cli.schema.dereference", "Print schemas without $ref and allOf."),
    "check": ("headwater.cli.schema.check", "Check every rule: files, content, compatibility, releases."),
    "bump": ("headwater.cli.schema.bump", "Suggest and write the next version."),
    "graph": ("headwater.cli.schema.graph", "Show which schemas use which version of a fragment."),
    "upgrade-fragment": ("headwater.cli.schema.upgrade_fragment", "Change schemas to another version of a fragment."),
    "compat": ("headwater.cli.schema.compat", "Check whether data and tables stay valid from one schema to another."),
    "diff": ("headwater.cli.schema.diff", "Show what changed between two versions of a schema, field by field."),
    "docs": ("headwater.cli.schema.docs", "Write pages about schemas."),
    "import": ("headwater.cli.schema.import_", "Import a repository or a registry export."),
    "serve": ("headwater.cli.schema.serve", "Serve schema repositories over HTTP."),
    "types": ("headwater.cli.schema.types", "Print a schema's fields in the types of a database or format."),
    "validate": ("headwater.cli.schema.validate", "Validate every event of a file."),
    "legacy": ("headwater.cli.schema.legacy", "The verbs and flags of jsonschema-tools."),
}


@click.command(
    cls=Verbs,
    table=VERBS,
    short_help="Work with schemas, and validate events.",
    epilog="Example:  headwater schema validate events.jsonl",
)
def command() -> None:
    """Work with schemas, and validate events."""
