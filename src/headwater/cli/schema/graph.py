"""`headwater schema graph`: which schemas use which version of which fragment, and which are behind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from headwater.cli.console import print_json, say
from headwater.cli.schema.repository_option import folder_named, repository_options

if TYPE_CHECKING:
    from headwater.schemas.workspace.fragment_use import FragmentUse
    from headwater.schemas.workspace.working_copy import WorkingCopy


@click.command(
    short_help="Show which schemas use which version of a fragment.",
    epilog="""\b
Examples:
  headwater schema graph
  headwater schema graph fragment/common --behind
  headwater schema graph --format dot | dot -Tsvg > schemas.svg""",
)
@click.argument("name", required=False, metavar="[SCHEMA]")
@click.option("--behind", is_flag=True, help="Only references to a version that is not the latest.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "dot", "mermaid"]),
    default="text",
    help="Output format; json is one object per reference.  [default: text]",
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@repository_options
def command(copy: WorkingCopy, name: str | None, behind: bool, form: str, as_json: bool) -> None:
    """Show the references between the schemas of a repository, or those to one SCHEMA, direct and indirect."""
    from headwater.schemas.workspace.fragment_use import fragment_uses, users_of

    uses = fragment_uses(copy)
    title = folder_named(copy, name).title if name else None
    indirect = [user for user, direct in users_of(title, uses).items() if not direct] if title else []
    shown = [use for use in uses if (title is None or use.used == title) and (use.is_behind or not behind)]
    if as_json or form == "json":
        for use in shown:
            print_json(use.as_json())
    elif form == "text":
        _print_text(shown, title, [] if behind else indirect)
    else:
        _print_drawing(shown, form)


def _print_text(uses: Sequence[FragmentUse], title: str | None, indirect: Sequence[str]) -> None:
    from headwater.schemas.workspace.working_copy import version_text

    by_used: dict[str, list[FragmentUse]] = {}
    for use in uses:
        by_used.setdefault(use.used, []).append(use)
    for used, group in sorted(by_used.items()):
        latest = group[0].latest
        known = f"latest {version_text(latest)}" if latest else "not in the repository and not pinned"
        click.echo(f"{click.style(used, bold=True)}  ({known})")
        versions = {use.version for use in group}
        for version in sorted(versions, key=lambda one: one or (0, 0, 0), reverse=True):
            users = sorted({use.user for use in group if use.version == version})
            is_behind = any(use.is_behind for use in group if use.version == version)
            mark = click.style("behind", fg="yellow") if is_behind else "      "
            for user in users:
                click.echo(f"  {version_text(version) if version else '(none)':<8} {mark}  {user}")
    for user in indirect:
        click.echo(f"  indirectly  {user}")
    late = len({(use.user, use.used) for use in uses if use.is_behind})
    subject = f"on {title}" if title else "between schemas"
    say(f"{len(uses)} references {subject}; {late} schemas refer to a version that is not the latest.")


def _print_drawing(uses: Sequence[FragmentUse], form: str) -> None:
    from headwater.schemas.workspace.working_copy import version_text

    edges = sorted({(use.user, use.used, use.version, use.is_behind) for use in uses}, key=str)
    if form == "dot":
        click.echo("digraph schemas {\n  rankdir=LR;\n  node [shape=box];")
        for user, used, version, is_behind in edges:
            label, style = version_text(version) if version else "", ", style=dashed" if is_behind else ""
            click.echo(f'  "{user}" -> "{used}" [label="{label}"{style}];')
        click.echo("}")
        return
    names = {name: f"n{number}" for number, name in enumerate(sorted({name for edge in edges for name in edge[:2]}))}
    click.echo("graph LR")
    for name, node in names.items():
        click.echo(f'  {node}["{name}"]')
    for user, used, version, is_behind in edges:
        arrow = "-.->" if is_behind else "-->"
        click.echo(f"  {names[user]} {arrow}|{version_text(version) if version else '?'}| {names[used]}")
