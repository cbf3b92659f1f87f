"""`headwater connectors show`: one connector, its options and an example."""

from __future__ import annotations

import json
from typing import Any

import click

from headwater.cli.connectors.facts import example_of, features_in_words, known, options_of
from headwater.cli.console import print_json
from headwater.errors import ExtraMissing


@click.command(short_help="Show one connector.", epilog="Example:  headwater connectors show duckdb")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(*, name: str, as_json: bool) -> None:
    """Show what the connector NAME can do, the options that it takes in a stream file, and an example."""
    from headwater.jobs.sink_delivery import DeliveryOptions
    from headwater.jobs.sinks import COMMON

    found = known(name)
    if found.spec is None:
        raise ExtraMissing(found.missing or f"The connector {name} cannot be loaded.")
    spec = found.spec
    own, common = options_of(spec.options), [*options_of(COMMON[spec.form]), *options_of(DeliveryOptions)]
    if as_json:
        print_json(
            {
                "name": spec.name,
                "summary": spec.summary,
                "form": spec.form,
                "extra": spec.extra,
                "features": features_in_words(spec),
                "options": own,
                "common_options": common,
                "example": example_of(spec),
            }
        )
        return
    click.secho(spec.name, bold=True)
    click.echo(spec.summary)
    click.echo(f"{'; '.join(features_in_words(spec)).capitalize()}.")
    if spec.extra:
        click.echo(f"Installed with headwater[{spec.extra}].")
    _show("Its options", own)
    _show("Options of every sink of this form", common)
    click.secho("\nExample", bold=True)
    click.echo(example_of(spec), nl=False)


def _show(title: str, options: list[dict[str, Any]]) -> None:
    click.secho(f"\n{title}", bold=True)
    width = max((len(one["name"]) for one in options), default=0)
    for one in options:
        default = "required" if one["required"] else f"default {json.dumps(one['default'])}"
        secret = ", a reference to a secret" if one["secret"] else ""
        click.echo(f"  {one['name'].ljust(width)}  {one['meaning']} ({one['type']}, {default}{secret})")
