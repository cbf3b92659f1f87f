"""`headwater schema types`: a schema's fields in the types of a database or format, and ALTERs between versions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headwater.cli.console import print_json, say
from headwater.cli.options import repositories_option
from headwater.cli.schema.finder import SchemaFinder
from headwater.errors import TypeUnmappable

if TYPE_CHECKING:
    from headwater.schemas.types.alter import AlterPlan
    from headwater.schemas.types.fit import FitOptions
    from headwater.schemas.types.targets import TypeMapping
    from headwater.schemas.types.tree import TypedSchema

TARGET_NAMES = ("postgres", "mysql", "duckdb", "iceberg", "arrow", "avro", "flink", "spark", "hive")


@click.command(
    short_help="Print a schema's fields in the types of a database or format.",
    epilog="""\b
Examples:
  headwater schema types shop/order --to postgres
  headwater schema types shop/order --to iceberg --version 1.1.0 --alter-from 1.0.0
  headwater schema types ./schemas/shop/order/current.yaml --to avro
  headwater schema types shop/order --to arrow --json | jq '.columns[].type'""",
)
@click.argument("schema", metavar="TITLE_OR_FILE")
@click.option("--to", "target", required=True, type=click.Choice(TARGET_NAMES), help="Database or format of the types.")
@click.option("--version", metavar="VERSION", help="Version of TITLE.  [default: the latest]")
@click.option(
    "--alter-from",
    metavar="VERSION_OR_FILE",
    help="Print how to alter a table of this version so that it can store the other one, instead of how to create it.",
)
@click.option("--table", metavar="NAME", help="Name of the table.  [default: from the title]")
@click.option(
    "--json-columns",
    is_flag=True,
    help="Store fields of several types as JSON text, and consider alternatives (anyOf, oneOf) at every level.",
)
@click.option(
    "--dates-as-text/--dates-as-timestamps",
    default=None,
    help="Type of date-times.  [default: text for hive, else timestamps]",
)
@click.option("--all-nullable", is_flag=True, help="No NOT NULL: for a table into which several versions are written.")
@click.option("--comments/--no-comments", default=True, help="Whether descriptions become comments.")
@click.option(
    "--widen", is_flag=True, help="With --alter-from: allow integer columns to become floating-point, or wider."
)
@click.option("--keep-removed", is_flag=True, help="With --alter-from: keep the columns of removed fields.")
@repositories_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(schema: str, target: str, **options: Any) -> None:
    """Print the definition of a table (or of a record, for Avro and Arrow) for the events of TITLE_OR_FILE.

    If the target has no type or no name for some fields, all of them are listed with the reasons, and nothing else is
    printed. Remarks on names and types go to standard error. With --alter-from the exit code is 1 if existing rows
    would be lost or misread, and only the reasons are printed.
    """
    from headwater.schemas.types.fit import FitOptions

    find = SchemaFinder(options["bases"])
    fit_options = FitOptions(
        json_columns=options["json_columns"],
        dates_as_text=options["dates_as_text"],
        all_nullable=options["all_nullable"],
        comments=options["comments"],
    )
    wanted = find.typed(schema, options["version"])
    if options["alter_from"] is None:
        _print_mapping(wanted, target, options, fit_options)
        return
    before = options["alter_from"]
    old = find.typed(before, None) if Path(before).is_file() else find.typed_version(schema, wanted, before)
    _print_plan(old, wanted, target, options, fit_options)


def _print_mapping(schema: TypedSchema, target: str, options: Mapping[str, Any], fit_options: FitOptions) -> None:
    from headwater.schemas.types.targets import map_types

    mapping = map_types(schema, target, table=options["table"], options=fit_options)
    if options["as_json"]:
        print_json(_mapping_document(mapping))
        return
    click.echo(mapping.text, nl=False)
    for note in mapping.notes:
        click.echo(f"note: {note.path or 'the event'} {note.sentence}", err=True)


def _mapping_document(mapping: TypeMapping) -> dict[str, Any]:
    columns = [
        {
            "name": column.name,
            "source": column.source,
            "type": column.type,
            "nullable": column.nullable,
            "description": column.description,
        }
        for column in mapping.columns
    ]
    return {
        "target": mapping.target,
        "title": mapping.title,
        "version": mapping.version,
        "table": mapping.table,
        "columns": columns,
        "text": mapping.text,
        "schema": mapping.document,
        "notes": [{"path": note.path, "note": note.sentence} for note in mapping.notes],
    }


def _print_plan(
    old: TypedSchema, new: TypedSchema, target: str, options: Mapping[str, Any], fit_options: FitOptions
) -> None:
    from headwater.schemas.types.alter import AlterOptions
    from headwater.schemas.types.targets import plan_alter

    allow = AlterOptions(widen=options["widen"], keep_removed=options["keep_removed"])
    plan = plan_alter(old, new, target, table=options["table"], options=fit_options, allow=allow)
    if options["as_json"]:
        print_json(_plan_document(plan))
        raise SystemExit(0 if plan.possible else 1)
    if not plan.possible:
        reasons = [(change.path, change.sentence) for change in plan.refused]
        sentence = "; ".join(f"{path or 'the event'} {why}" for path, why in reasons)
        raise TypeUnmappable(
            f"A {target} table of {new.title or 'the schema'} {old.version} cannot store {new.version}: {sentence}.",
            refusals=reasons,
        )
    for statement in plan.statements:
        click.echo(statement, nl=False)
    for change in plan.changes:
        click.echo(f"note: {change.path or 'the event'} {change.sentence}", err=True)
    if not plan.changes:
        say(f"A table of {old.version} can store {new.version} without changes.")


def _plan_document(plan: AlterPlan) -> dict[str, Any]:
    return {
        "target": plan.target,
        "table": plan.table,
        "from": plan.old_version,
        "to": plan.new_version,
        "possible": plan.possible,
        "statements": list(plan.statements),
        "changes": [{"kind": change.kind, "path": change.path, "sentence": change.sentence} for change in plan.changes],
    }
