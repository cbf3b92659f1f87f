"""`headwater job run`: runs one job of a project over files of events, without a server and without a log."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from headwater.cli.console import called_as, print_json, report_error, say
from headwater.cli.plan import project_option
from headwater.errors import ConfigInvalid
from headwater.times import time_ms

if TYPE_CHECKING:
    from headwater.cli.job.history import Outcome
    from headwater.jobs.job import HistoryOrder, Job

STOPPED = 130
FOREIGN_LISTED_MAX = 5
REFUSALS_SHOWN_MAX = 5


@click.command(
    short_help="Run one job over files, without a server.",
    epilog="""\b
Examples:
  headwater job run page_edits --from edits.jsonl.gz --to out.jsonl --errors errors.jsonl
  headwater job run page_edits --from 'day/*.jsonl.gz' --to page_edits.v1=out.jsonl.gz
  zcat edits.jsonl.gz | headwater job run page_edits --from - --to -""",
)
@click.argument("name")
@project_option
@click.option(
    "--from",
    "sources",
    multiple=True,
    required=True,
    metavar="SRC",
    help="File of events (JSON lines, also gzipped, Parquet, or an XML dump of a wiki), directory, pattern in quotes, "
    "`-`, or `log`, the project's log; may be repeated. STREAM=SRC takes all its events as those of a stream that the "
    "job reads.",
)
@click.option(
    "--to",
    "targets",
    multiple=True,
    required=True,
    metavar="DST",
    help="File for the job's events, by its extension gzipped or Parquet, `-`, or `log`, the project's log. "
    "STREAM=DST, repeated, divides them by stream.",
)
@click.option("--errors", type=click.Path(path_type=Path), help="File for error events.  [default: count them]")
@click.option("--late", type=click.Path(path_type=Path), help="File for late events.  [default: count them]")
@click.option(
    "--order",
    type=click.Choice(["event-time", "arrival"]),
    help="Sort the input by event time, so that nothing is late, or take it as it is in the files, as if it arrived "
    "so.  [default: as the job says, else event-time]",
)
@click.option("--since", metavar="TIME", help="Only events at or after this event time, such as 2016-06-27T12:00:00Z.")
@click.option("--until", metavar="TIME", help="Only events before this event time.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Set a setting of the job by its name, or one of headwater.yaml by its dotted key; may be repeated.",
)
@click.option(
    "--table",
    "tables",
    multiple=True,
    metavar="NAME=FILE",
    help="The rows of a materialized table that the job reads, as a run of the job that keeps it writes them (JSON "
    "lines, also gzipped, or Parquet); may be repeated.  [default: as it is in the project's log]",
)
@click.option("--rate", type=click.FloatRange(min=0.001), help="Events per second at most.")
@click.option("--no-validate", is_flag=True, help="Do not validate the input against its schemas.")
@click.option("--no-dedupe", is_flag=True, help="Keep events whose meta.id was there before.")
@click.option(
    "--state",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory for the state of an unfinished run.  [default: next to DST]",
)
@click.option("--restart", is_flag=True, help="Start again instead of resuming an interrupted run.")
@click.option(
    "--hand-over",
    is_flag=True,
    help="Let the server continue the job where this run ends, with its state: with --from log and --to log.",
)
@click.option("--fail-on-errors", is_flag=True, help="Exit with 1 if there are error events.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON object.")
def command(
    *,
    name: str,
    project: Path,
    sources: tuple[str, ...],
    targets: tuple[str, ...],
    errors: Path | None,
    late: Path | None,
    order: HistoryOrder | None,
    since: str | None,
    until: str | None,
    settings: tuple[str, ...],
    tables: tuple[str, ...],
    rate: float | None,
    no_validate: bool,
    no_dedupe: bool,
    state: Path | None,
    restart: bool,
    hand_over: bool,
    fail_on_errors: bool,
    as_json: bool,
) -> None:
    """Run the job NAME over the events in files, and write its results to files.

    The job runs as it does in a server, on input that ends: steps, state, timers, ids and error events are the same,
    and at the end all windows are emitted. Events are validated, repeats of a meta.id within a day are left out, and
    so are canaries; a line that is not a valid event gives an error event, and the run continues. An object with
    neither `$schema` nor `meta` is an event of the stream that its file is given for, or whose schema it agrees with.

    Result files are there only when they are whole. An interrupted run resumes when the same command is run again; if
    its input or the job's code has changed, it starts again from the beginning. The exit code is 0 when the input was
    processed to its end.
    """
    from headwater.cli.job.history import History
    from headwater.cli.job.targets import Request
    from headwater.processing.batch.admission import AdmissionRules
    from headwater.processing.batch.inputs import LOG
    from headwater.processing.batch.run import HistorySettings

    rules = AdmissionRules(
        validate=not no_validate,
        deduplicate=not no_dedupe,
        since_ms=_time(since, "since"),
        until_ms=_time(until, "until"),
    )
    history = History(
        project,
        Request(name, sources, targets, errors, late, state, settings, restart, tables),
        HistorySettings(order=order, rules=rules, events_per_second=rate, hands_over=hand_over),
    )
    if history.was_handed_over:
        history.clear()
        say(f"This command has handed over the job {name} before: the server continues it. Nothing was left to do.")
        return
    try:
        outcome = history.run()
    except KeyboardInterrupt:
        say("Stopped. Run the same command to resume.")
        raise click.exceptions.Exit(STOPPED) from None
    if as_json:
        print_json(outcome.as_json())
    else:
        _show(history.job, outcome)
        if outcome.summary.errors:
            _show_errors(history.job, errors, in_log=LOG[0] in targets)
    for damage in outcome.damage:
        report_error(damage)
    raise SystemExit(1 if outcome.damage or (fail_on_errors and outcome.summary.errors) else 0)


def _time(text: str | None, option: str) -> int | None:
    if text is None:
        return None
    found = time_ms(text)
    if found is None:
        raise ConfigInvalid(f"--{option} {text} is not a time.", hint="Such as 2016-06-27T12:00:00Z.")
    return found


def _show_errors(job: Job, file: Path | None, *, in_log: bool) -> None:
    """Where the error events are."""
    if file is not None:
        say(f"The error events are in {file}.")
    elif in_log:
        say(f"The error events: `{called_as()} errors list {job.name}`.")
    else:
        say("The error events were only counted: `--errors FILE` writes them.")


def _show(job: Job, outcome: Outcome) -> None:
    """The summary for people, on standard error."""
    summary, counts = outcome.summary, outcome.summary.counts
    lines = [
        ("read", f"{counts.lines:,} lines"),
        (
            "processed",
            f"{summary.read:,}" + (f", {summary.resumed_after:,} of them before" if summary.resumed_after else ""),
        ),
        ("written", f"{summary.written:,}"),
        ("errors", f"{summary.errors:,}"),
    ]
    lines += [("late", f"{summary.late:,}")] if summary.late else []
    lines += [("skipped", f"{summary.skipped:,}")] if summary.skipped else []
    lines += [(f"  left out: {what}", f"{count:,}") for what, count in outcome.left_out() if count]
    lines += [(f"  counted: {name}", f"{value:,.10g}") for name, value in sorted(summary.counted.items())]
    for name, text in lines:
        say(f"{name:<34}{text}")
    processed = summary.read - summary.resumed_after
    say(f"in {outcome.seconds:.1f} s" + (f", {processed / outcome.seconds:,.0f} events/s" if outcome.seconds else ""))
    for reason in counts.refusals[:REFUSALS_SHOWN_MAX]:
        say(f"not an event: {reason}")
    if counts.foreign:
        several = counts.foreign.most_common(FOREIGN_LISTED_MAX)
        others = ", ".join(f"{name} ({count:,})" for name, count in several)
        say(f"The job reads {', '.join(job.reads())}; the input also has {others}.")
        if not summary.read:
            only = job.reads()[0]
            say(f"  → Nothing was processed. To take these events as those of {only}: --from {only}=FILE")
