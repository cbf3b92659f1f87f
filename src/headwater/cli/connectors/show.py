"""`headwater connectors show`: one connector, its options and an example."""

from __future__ import annotations

import json
from typing import Any

import click

from headwater.cli.connectors.facts import (
    SIDES,
    Known,
    Side,
    example_of,
    features_in_words,
    known,
    options_of,
)
from headwater.cli.console import print_json
from headwater.errors import ExtraMissing


@click.command(short_help="Show one connector.", epilog="Example:  headwater connectors show kafka --kind source")
@click.argument("name")
@click.option("--kind", "side", type=click.Choice(SIDES), help="Only the sink, or only the source, of that name.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, or two of a sink and a source.")
def command(*, name: str, side: Side | None, as_json: bool) -> None:
    """Show what the connector NAME can do, the options that it takes, and an example.

    Some names are those of a sink, in a stream file, and of a source, a file in `sources/`: both are shown.
    """
    for place, one in enumerate(known(name, SIDES if side is None else (side,))):
        described = _described(one)
        if as_json:
            print_json(described)
            continue
        if place:
            click.echo()
        _print(described)


def _described(one: Known) -> dict[str, Any]:
    """The connector for machines. Raises ExtraMissing."""
    from headwater.connectors.spec import SinkSpec
    from headwater.jobs.sink_delivery import DeliveryOptions
    from headwater.jobs.sinks import COMMON
    from headwater.processing.source_files import SourceOptions

    spec = one.spec
    if spec is None:
        raise ExtraMissing(one.missing or f"The {one.side} {one.name} cannot be loaded.")
    common = (COMMON[spec.form], DeliveryOptions) if isinstance(spec, SinkSpec) else (SourceOptions,)
    return {
        "name": one.name,
        "kind": one.side,
        "summary": spec.summary,
        "form": one.form,
        "extra": spec.extra,
        "features": features_in_words(spec),
        "options": options_of(spec.options),
        "common_options": [option for section in common for option in options_of(section)],
        "example": example_of(spec),
    }


def _print(described: dict[str, Any]) -> None:
    side = described["kind"]
    click.secho(f"{described['name']} ({side})", bold=True)
    click.echo(described["summary"])
    if features := "; ".join(described["features"]):
        click.echo(f"{features[:1].upper()}{features[1:]}.")
    if described["extra"]:
        click.echo(f"Installed with headwater[{described['extra']}].")
    _show("Its options", described["options"])
    of = "Options of every sink of this form" if side == "sink" else "Options of every source"
    _show(of, described["common_options"])
    click.secho("\nExample, in a stream file" if side == "sink" else "\nExample, a file in sources/", bold=True)
    click.echo(described["example"], nl=False)


def _show(title: str, options: list[dict[str, Any]]) -> None:
    click.secho(f"\n{title}", bold=True)
    width = max((len(one["name"]) for one in options), default=0)
    for one in options:
        default = "required" if one["required"] else f"default {json.dumps(one['default'])}"
        secret = ", a reference to a secret" if one["secret"] else ""
        click.echo(f"  {one['name'].ljust(width)}  {one['meaning']} ({one['type']}, {default}{secret})")
