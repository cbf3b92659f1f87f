"""`headwater schema import`: imports another schema repository or a registry's export, or pins a repository."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headwater.cli.console import report_error, say
from headwater.cli.schema.repository_option import repository_options
from headwater.cli.verbs import EXIT_OPERATOR
from headwater.errors import SchemaUnavailable

if TYPE_CHECKING:
    from headwater.schemas.workspace.repository_import import ImportPlan
    from headwater.schemas.workspace.working_copy import WorkingCopy

_CLONE_TIMEOUT_SECONDS = 600
# The behaviour without a settings file, written out because a settings file has other defaults.
_PLAIN_SETTINGS = """\
schemaBasePath: {base}
contentTypes: [yaml]
shouldSymlinkExtensionless: false
shouldSymlinkLatest: false
"""


@click.command(
    short_help="Import a repository or a registry export.",
    epilog="""\b
Examples:
  headwater schema import ../schemas-event-primary --only fragment/common
  headwater schema import registry-export.json --prefix registry
  headwater schema import https://example.org/schemas.git --revision 43aeb4a --pin primary""",
)
@click.argument("source")
@click.option("--only", multiple=True, metavar="TITLE", help="Only this schema of a repository; may be repeated.")
@click.option("--prefix", default="", help="Import the schemas of a registry export below this title.")
@click.option("--revision", metavar="COMMIT", help="Commit, tag or branch of a Git repository.")
@click.option(
    "--pin", metavar="NAME", help="Store the released versions in .headwater/NAME for references, verified by hash."
)
@click.option("--replaces", metavar="URL", help="With --pin: the entry of schemaBaseUris that it replaces.")
@click.option("-n", "--dry-run", is_flag=True, help="Print what would be written; write nothing.")
@repository_options
def command(copy: WorkingCopy, source: str, **options: Any) -> None:
    """Import the schemas of SOURCE: a directory, a Git URL, or the JSON that a registry serves at /schemas.

    A version that exists already with different content is a conflict; then nothing is written.
    """
    from headwater.schemas.workspace.repository_import import plan_registry_export, plan_repository

    if Path(source).is_file():
        plan = plan_registry_export(copy, Path(source), prefix=options["prefix"])
        _carry_out(copy, plan, dry_run=options["dry_run"])
        return
    with _repository(source, options["revision"]) as (other, origin):
        if options["pin"]:
            _pin(copy, other, origin, options)
            return
        plan = plan_repository(copy, other, options["only"] or None)
        _carry_out(copy, plan, dry_run=options["dry_run"])


@contextmanager
def _repository(source: str, revision: str | None) -> Iterator[tuple[WorkingCopy, str]]:
    """The other repository (a URL is cloned for the duration of the block), and where it came from."""
    from headwater.schemas.workspace.git_changes import commit_of
    from headwater.schemas.workspace.working_copy import WorkingCopy

    if Path(source).is_dir() and revision is None:
        other = WorkingCopy.open(source)
        commit = commit_of(other.root)
        yield other, f"{Path(source).resolve().name}@{commit}" if commit else Path(source).resolve().name
        return
    if source.startswith("-") or (revision or "").startswith("-"):
        raise click.UsageError("A URL or a revision must not begin with a dash.")
    with tempfile.TemporaryDirectory() as scratch:
        _git("clone", "--quiet", "--no-checkout", "--", source, scratch)
        _git("-C", scratch, "checkout", "--quiet", "--detach", revision or "HEAD", "--")
        other = WorkingCopy.open(scratch)
        yield other, f"{source.rstrip('/').rsplit('/', 1)[-1]}@{commit_of(other.root)}"


def _git(*arguments: str) -> None:
    try:
        subprocess.run(["git", *arguments], check=True, capture_output=True, timeout=_CLONE_TIMEOUT_SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        reason = (getattr(error, "stderr", None) or str(error).encode()).decode(errors="replace").strip()
        raise SchemaUnavailable(f"The repository cannot be fetched: {reason[:300]}") from None


def _carry_out(copy: WorkingCopy, plan: ImportPlan, *, dry_run: bool) -> None:
    from headwater.schemas.workspace.version_files import write_changed

    for note in plan.notes:
        say(note)
    for conflict in plan.conflicts:
        report_error(f"{copy.shown(conflict)} exists already with different content.")
    if plan.conflicts:
        say("Nothing was written. Select the schemas to import with --only, or remove the existing ones.")
        raise SystemExit(EXIT_OPERATOR)
    for file in plan.files:
        click.echo(f"{'would write' if dry_run else 'written'}: {copy.shown(file.path)}")
    write_changed(plan.files, dry_run=dry_run)
    say(f"{len(plan.titles)} schemas, {len(plan.files)} new files. Next: `headwater schema materialize --check`.")


def _pin(copy: WorkingCopy, other: WorkingCopy, origin: str, options: dict[str, Any]) -> None:
    from headwater.schemas.workspace.pinned_repository import content_hash, files_below
    from headwater.schemas.workspace.repository_import import plan_pin, with_pin
    from headwater.schemas.workspace.version_files import VersionFile, write_changed
    from headwater.schemas.workspace.working_settings import SETTINGS_FILE

    plan, place = plan_pin(copy, other, options["pin"])
    for note in plan.notes:
        say(note)
    changed = write_changed(plan.files, dry_run=options["dry_run"])
    done = "to write" if options["dry_run"] else "written"
    say(f"{len(plan.titles)} schemas of {origin}, {len(changed)} files {done}.")
    if options["dry_run"]:
        return
    entry = {
        "path": place.relative_to(copy.root).as_posix(),
        "sha256": content_hash(files_below(place)),
        "origin": origin,
    }
    if options["replaces"]:
        entry["replaces"] = options["replaces"]
    file = copy.root / SETTINGS_FILE
    text = file.read_text(encoding="utf-8") if file.exists() else _PLAIN_SETTINGS.format(base=_base_shown(copy))
    VersionFile(file, content=with_pin(text, entry, copy.limits).encode()).write()
    click.echo(f"{copy.shown(file)}: {entry['path']} pinned at {entry['sha256']}")


def _base_shown(copy: WorkingCopy) -> str:
    return f"./{copy.base.relative_to(copy.root).as_posix()}"
