"""`headwater schema compat`: whether data and tables stay valid from one schema to another."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headwater.cli.console import print_json
from headwater.cli.schema.comparison_inputs import Side, side_of_file

if TYPE_CHECKING:
    from headwater.schemas.compatibility import Answer, Comparison, Reason

MODES = (
    *("NONE", "BACKWARD", "BACKWARD_TRANSITIVE", "FORWARD", "FORWARD_TRANSITIVE", "FULL", "FULL_TRANSITIVE"),
    *("EVENT", "LEGACY"),
)
_COLOURS = {"yes": "green", "no": "red", "unknown": "yellow", "n/a": "bright_black"}
_QUESTIONS = {
    "backward": "Is everything the old schema allows allowed by the new one?",
    "forward": "Is everything the new schema allows allowed by the old one?",
    "storage": "Can tables of the old schema store the new data, with columns added?",
}
_REASONS_SHOWN = 5
_WITNESS_CHARACTERS_MAX = 300


@click.command(
    short_help="Say whether data and tables stay valid from one schema to another.",
    epilog="""\b
Examples:
  headwater schema compat page/edit/1.0.0.yaml page/edit/1.1.0.yaml
  headwater schema compat old.json new.json --mode FULL --content-model strict
  headwater schema compat old.json new.json --json | jq .backward.verdict""",
)
@click.argument("old", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("new", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--mode",
    type=click.Choice(MODES, case_sensitive=False),
    default="EVENT",
    help="The mode that decides the exit code: 0 if the schemas are compatible by it, else 1.  [default: EVENT]",
)
@click.option(
    "--content-model",
    type=click.Choice(["declared", "strict"]),
    default="declared",
    help="declared: writers send only fields that their schema declares; strict: all it allows.  [default: declared]",
)
@click.option(
    "--draft", type=click.Choice(["draft-07", "2020-12"]), help="JSON Schema dialect of a file that names none."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(old: Path, new: Path, mode: str, **options: Any) -> None:
    """Compare the schemas in the files OLD and NEW.

    Three answers: backward (new readers understand old data), forward (old readers understand new data) and storage
    (existing tables can store new data). Every "no" comes with an instance that one schema accepts and the other
    refuses. If nothing could be proved and no instance was found, the answer is "unknown", which counts as
    incompatible.
    """
    sides = side_of_file(old), side_of_file(new)
    comparison, broken = compare_sides(sides, mode, options["content_model"], options["draft"])
    if options["as_json"]:
        print_json({"mode": mode.upper(), "kept": not broken, "broken": broken, **comparison.as_json()})
    else:
        print_comparison(comparison)
        _print_mode(mode.upper(), broken)
    raise SystemExit(1 if broken else 0)


def compare_sides(
    sides: Sequence[Side], mode: str, content_model: str, draft: str | None = None
) -> tuple[Comparison, list[dict[str, Any]]]:
    """The comparison of two schemas, and how it violates the rule of a mode."""
    from headwater.schemas.compatibility import compare, judge, mode_named
    from headwater.schemas.dialect import DRAFT_2020_12

    model: Any = content_model
    documents = [dict(side.document) for side in sides]
    if draft == "2020-12":
        documents = [{"$schema": DRAFT_2020_12, **document} for document in documents]
    old, new = documents
    comparison = compare(old, new, content_model=model)
    broken = judge(old, new, mode_named(mode), content_model=model, comparison=comparison)
    return comparison, [{"rule": rule, "verdict": verdict, **reason.as_json()} for rule, verdict, reason in broken]


def print_comparison(comparison: Comparison) -> None:
    """The three answers, with the first reasons of every "no"."""
    from headwater.schemas.compatibility import suggest_bump

    for name, question in _QUESTIONS.items():
        answer: Answer = getattr(comparison, name)
        click.echo(f"{name:<9} ", nl=False)
        click.secho(f"{answer.verdict:<8}", fg=_COLOURS[answer.verdict], bold=True, nl=False)
        click.secho(f" {question}", fg="bright_black")
        if answer.doubt:
            click.echo(f"          {answer.doubt}")
        for reason in answer.reasons[:_REASONS_SHOWN]:
            _print_reason(reason)
        if len(answer.reasons) > _REASONS_SHOWN:
            click.echo(f"          … and {len(answer.reasons) - _REASONS_SHOWN} more; --json lists them all.")
    click.echo(f"suggested version step: {suggest_bump(comparison)}")


def _print_reason(reason: Reason) -> None:
    click.echo(f"        • {reason.sentence}")
    if reason.witness is not None:
        text = json.dumps(reason.witness, ensure_ascii=False)
        click.echo(f"          example: {text if len(text) <= _WITNESS_CHARACTERS_MAX else text[:300] + '…'}")
    click.echo(f"          fix: {reason.fix}")


def _print_mode(mode: str, broken: Sequence[dict[str, Any]]) -> None:
    if not broken:
        click.secho(f"The rule {mode} is kept.", fg="green")
        return
    rules = ", ".join(dict.fromkeys(one["rule"].removeprefix("compatibility.") for one in broken))
    click.secho(f"The rule {mode} is broken: {rules}.", fg="red")
    if mode == "LEGACY" or rules == "removal":
        for one in broken:
            click.echo(f"        • {one['sentence']}\n          fix: {one['fix']}")
