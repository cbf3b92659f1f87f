"""`headwater streams explain`: every key of a stream with its value, the layer that set it, and overridden values."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headwater.cli.console import print_json
from headwater.cli.streams.chosen import scope_options, streams_option
from headwater.errors import StreamUnknown

if TYPE_CHECKING:
    from headwater.streams.layers import Step, StreamLayers

KEY_CHARS_MAX = 60


@click.command(
    short_help="Show every setting of a stream, and which layer set it.",
    epilog="Example:  headwater streams explain mediawiki.web_ui_actions --site enwiki",
)
@click.argument("name", metavar="NAME")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one key per line.")
@scope_options
@streams_option
def command(*, name: str, path: Path, as_json: bool, site: str | None, realm: str) -> None:
    """Show every key of the stream NAME, its value, and the file and line that set it.

    Overridden values of lower layers, and removed keys, are shown below, in grey.
    """
    from headwater.streams.files import read_layers
    from headwater.streams.layers import Scope
    from headwater.streams.stream_format import SHAPE

    layers = read_layers(path)
    scope = Scope(site=site, realm=realm)
    entry = _declared_name(layers, name)
    order = list(SHAPE)
    steps = dict(sorted(layers.steps(entry, scope).items(), key=lambda item: order.index(item[0][0])))
    if as_json:
        for key, done in steps.items():
            covered = [_facts(key, step) for step in reversed(done[:-1])]
            print_json({"key": list(key), **_facts(key, done[-1]), "covers": covered})
        return
    for_whom = ", ".join([f"site {site}"] * bool(site) + [f"realm {realm}"] * (realm != "production"))
    if entry != name:
        click.secho(f"{name} is a member of the family {entry}.", dim=True)
    click.secho(f"{entry}{f' for {for_whom}' if for_whom else ''}", bold=True)
    if layers.document(entry, scope).get("exists") is False:
        click.secho("The stream does not exist on this site: `exists` is false.", fg="red")
    _print_steps(steps, path if path.is_dir() else path.parent)


def _declared_name(layers: StreamLayers, name: str) -> str:
    """The declaration of a name: its own, else that of the first family it belongs to. Raises StreamUnknown."""
    from headwater.declaration import nearest
    from headwater.streams import matching as legacy

    if name in layers.entries:
        return name
    for entry in layers.entries:
        if legacy.is_family(entry) and not legacy.is_family(name) and legacy.matches(entry, name):
            return entry
    near = nearest(name, layers.entries)
    hint = f'Did you mean "{near}"?' if near else "List all streams with `headwater streams list`."
    raise StreamUnknown(f'The stream "{name}" is not declared.', hint=hint)


def _facts(key: tuple[str, ...], step: Step) -> dict[str, Any]:
    layer = step.layer
    value = {"removed": True} if step.removed else {"value": step.value}
    line = layer.line if step.removed else layer.line_of(key)
    return {**value, "layer": layer.name, "when": str(layer.when), "file": layer.file, "line": line}


def _print_steps(steps: Mapping[tuple[str, ...], Sequence[Step]], directory: Path) -> None:
    width = min(KEY_CHARS_MAX, max((len(".".join(key)) for key in steps), default=0))
    for key, done in steps.items():
        for place, step in enumerate(reversed(done)):
            value = "(removed)" if step.removed else json.dumps(step.value, ensure_ascii=False)
            label = ".".join(key) if place == 0 else ""
            line = f"  {label:<{width}}  {value}  ← {_origin(key, step, directory)}"
            click.secho(line, dim=place > 0 or step.removed)


def _origin(key: tuple[str, ...], step: Step, directory: Path) -> str:
    layer = step.layer
    line = None if step.removed else layer.line_of(key)
    where = layer.name
    if layer.file is not None:
        file = Path(layer.file)
        shown = file.relative_to(directory) if file.is_relative_to(directory) else file
        where = f"{shown}:{line or layer.line}"
    condition = "" if str(layer.when) == "everywhere" else f" ({layer.when})"
    return f"{where}{condition}"
