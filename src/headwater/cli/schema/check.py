"""`headwater schema check`: every rule of a schema repository, in one command for people and for CI."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headwater.cli.console import report_error, say
from headwater.cli.schema.repository_option import folder_named, repository_options
from headwater.cli.verbs import EXIT_OPERATOR
from headwater.errors import SchemaNotFound, SchemaUnavailable

if TYPE_CHECKING:
    from headwater.schemas.rules import CheckResult
    from headwater.schemas.workspace.working_copy import WorkingCopy

# The formats of headwater.schemas.reports.report, repeated here so that help imports nothing.
FORMATS = ("text", "json", "sarif", "junit")
_COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}


@click.command(
    short_help="Check every rule: files, content, compatibility, releases.",
    epilog="""\b
Examples:
  headwater schema check                             the whole repository
  headwater schema check page/edit                   one schema, by its title, directory or file
  headwater schema check --changed-since origin/main what a branch changes
  headwater schema check --format sarif > check.sarif
  headwater schema check --as jsonschema-tools       only the rules of its tests
  headwater schema check --baseline baseline.json    fail on new findings only
  headwater schema check --changed-since origin/main --report markdown --project ../platform

\b
Exit codes:
  0  no errors (with --strict: no warnings either)
  1  there are errors
  2  the check could not be run: invalid settings, an unknown revision or name""",
)
@click.argument("names", nargs=-1, metavar="[SCHEMA]...")
@click.option("--changed-since", "since", metavar="REVISION", help="Only schemas that differ from a Git revision.")
@click.option(
    "--format",
    "format_name",
    type=click.Choice(FORMATS),
    default="text",
    help="How findings are printed.  [default: text]",
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option(
    "--report", type=click.Choice(["markdown"]), help="Print the report for a pull request; needs --changed-since."
)
@click.option(
    "--project",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    help="A Headwater project; the report lists its streams, jobs and sinks that use the schemas.",
)
@click.option(
    "--as",
    "check_as",
    type=click.Choice(["jsonschema-tools"]),
    help="Check exactly the rules of this tool, regardless of the settings for ours.",
)
@click.option(
    "--baseline",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File with known findings: only others fail. If it does not exist, it is written with the current findings.",
)
@click.option("--update-baseline", is_flag=True, help="Replace the baseline with the current findings.")
@click.option("--notes", is_flag=True, help="Print notes too: possible improvements that are not faults.")
@click.option("--strict", is_flag=True, help="Fail on warnings, too.")
@repository_options
def command(copy: WorkingCopy, names: tuple[str, ...], since: str | None, **options: Any) -> None:
    """Check every SCHEMA (all of the repository when none is named).

    All rules are checked: files and names, content, whether the version files are up to date, compatibility with
    earlier versions (EVENT unless the settings name another mode), and whether released versions are unchanged.
    Nothing is written and nothing is fetched.
    """
    report, project = options["report"], options["project"]
    format_name = "json" if options["as_json"] else options["format_name"]
    if report and since is None:
        raise click.UsageError("A report compares two revisions: name the earlier one with --changed-since.")
    if project and not report:
        raise click.UsageError("--project is only used for the report: add --report markdown.")
    partial = bool(names) or since is not None
    _require_whole(options, partial=partial)
    result = _checked(copy, names, since, notes=options["notes"], as_original=options["check_as"] is not None)
    if options["baseline"] is not None:
        result = _with_baseline(result, options["baseline"], update=options["update_baseline"], partial=partial)
    from headwater.schemas.rules import Severity

    if report and since is not None:
        click.echo(_report(copy, result, since, project), nl=False)
    elif format_name == "text":
        _print(result)
    else:
        from headwater.schemas.reports.report import rendered

        click.echo(rendered(result, format_name))
    failed = result.of(Severity.ERROR) or (options["strict"] and result.of(Severity.WARNING))
    raise SystemExit(1 if failed else 0)


def _require_whole(options: dict[str, Any], *, partial: bool) -> None:
    baseline: Path | None = options["baseline"]
    if options["update_baseline"] and baseline is None:
        raise click.UsageError("--update-baseline needs --baseline FILE.")
    if baseline is not None and partial and (options["update_baseline"] or not baseline.is_file()):
        raise click.UsageError(
            f"{baseline} must be written from a check of the whole repository: omit names and --changed-since."
        )


def _with_baseline(result: CheckResult, file: Path, *, update: bool, partial: bool) -> CheckResult:
    from headwater.schemas.rules.baseline import Baseline

    if update or not file.is_file():
        baseline = Baseline.of(result)
        baseline.write(file)
        say(f"{baseline.counts.total()} current findings are recorded in {file}; from now on only others count.")
    else:
        baseline = Baseline.read(file)
        gone = 0 if partial else baseline.gone(result)
        if gone:
            say(f"{gone} findings recorded in {file} no longer occur: run again with --update-baseline to remove them.")
    return baseline.applied(result, file.name)


def _checked(
    copy: WorkingCopy, names: tuple[str, ...], since: str | None, *, notes: bool, as_original: bool
) -> CheckResult:
    """The check; exits with status 2 if a schema name or Git revision does not exist: a usage error, not a finding."""
    # The check's objects have no cycles, and the collector would take a tenth of its time (measured).
    gc.disable()
    try:
        from headwater.schemas.rules import check_schemas, read_policy

        titles = [folder_named(copy, name).title for name in names] or None
        policy = read_policy(copy.settings, as_original=as_original)
        return check_schemas(copy, titles=titles, since=since, notes=notes, policy=policy)
    except (SchemaNotFound, SchemaUnavailable) as error:
        report_error(error.message, error.hint)
        raise SystemExit(EXIT_OPERATOR) from None
    finally:
        gc.enable()


def _print(result: CheckResult) -> None:
    from headwater.schemas.reports.text import finding_line, summary, witness_text
    from headwater.schemas.rules import Severity

    for finding in result.findings:
        if finding.waived is not None:
            continue
        click.secho(finding_line(finding), fg=_COLOURS[finding.severity])
        if finding.hint:
            click.echo(f"  → {finding.hint}")
        if finding.witness is not None:
            click.echo(f"  example: {witness_text(finding.witness)}")
    click.secho(summary(result), fg="red" if result.of(Severity.ERROR) else "green")


def _report(copy: WorkingCopy, result: CheckResult, since: str, project: Path | None) -> str:
    from headwater.schemas.reports.markdown import markdown
    from headwater.schemas.workspace.release_change import schema_changes

    users = users_in(project, result.titles) if project else None
    return markdown(result, schema_changes(copy, result.titles, since), since, users)


def users_in(project: Path, titles: Sequence[str]) -> dict[str, list[str]]:
    """What of a project uses the schemas: title → sentences. Raises ConfigInvalid, JobInvalid."""
    from headwater.cli.up.up import require_project
    from headwater.config import load_config
    from headwater.jobs.loader import load_jobs
    from headwater.processing.declared_connectors import project_sinks
    from headwater.streams.registry import StreamRegistry

    require_project(project)
    config = load_config(project)
    streams = StreamRegistry.load(config.path(config.streams.path))
    sinks = project_sinks(config, streams)
    jobs = load_jobs(config.path(config.jobs.path), config.project_dir, others=sinks)
    found: dict[str, list[str]] = {}
    for title in titles:
        named = [stream.name for stream in streams.entries() if stream.schema_title == title]
        sentences = [f"the stream `{name}` has this schema" for name in named]
        for job in jobs:
            writes = job.writes()
            read = [name for name in job.reads() if name in named]
            if read:
                sentences.append(f"the job `{job.name}` reads `{'`, `'.join(read)}`")
                if writes.table_name is not None:
                    sentences.append(f"the table `{writes.table_name}` is filled from it by the job `{job.name}`")
            if writes.output in named:
                sentences.append(f"the job `{job.name}` writes `{writes.output}`")
        found[title] = sentences
    return found
