"""`headwater streams export`: the declared streams in a format for other software."""

from __future__ import annotations

import json
from pathlib import Path

import click

from headwater.cli.console import say
from headwater.cli.options import RenamedOption
from headwater.cli.streams.chosen import streams_option
from headwater.errors import ConfigInvalid


@click.command(
    short_help="Print the streams in the format of the legacy configuration.",
    epilog="Example:  headwater streams export --legacy --output-dir legacy",
)
@click.option("--legacy", is_flag=True, required=True, help="The format of the legacy stream configuration.")
@click.option("--overrides", is_flag=True, help="Print the overrides by site instead of the streams.")
@click.option("--json", "as_json", is_flag=True, help="JSON instead of YAML.")
@click.option(
    "-o",
    "--output-dir",
    "into",
    cls=RenamedOption,
    old_names=["--into"],
    type=click.Path(file_okay=False, path_type=Path),
    help="Write both files, streams and overrides, into this directory instead of printing one.",
)
@streams_option
def command(*, path: Path, legacy: bool, overrides: bool, as_json: bool, into: Path | None) -> None:
    """Print the streams in the format of the legacy configuration. The exit code is 1 if some cannot be expressed."""
    from headwater.streams.files import read_layers
    from headwater.streams.legacy.export import exported
    from headwater.streams.writing import yaml_text

    if not legacy:
        raise ConfigInvalid("No format is given.", hint="Add --legacy.")
    made = exported(read_layers(path), path)
    extension = "json" if as_json else "yaml"

    def text(tree: object) -> str:
        return json.dumps(tree, indent=2, ensure_ascii=False) + "\n" if as_json else yaml_text(tree)

    if into is None:
        click.echo(text(made.overrides if overrides else made.streams), nl=False)
    else:
        into.mkdir(parents=True, exist_ok=True)
        for name, tree in (("streams", made.streams), ("overrides", made.overrides)):
            (into / f"{name}.{extension}").write_text(text(tree), encoding="utf-8")
        say(f"Wrote {into}/streams.{extension} and {into}/overrides.{extension}.")
    for sentence in made.unsaid:
        click.secho(f"Not exported: {sentence}", fg="red", err=True)
    raise SystemExit(1 if made.unsaid else 0)
