"""`headwater job run`: runs one job of a project over files of events, without a server, or on Apache Flink."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headwater.cli.console import called_as, print_json, report_error, say
from headwater.cli.job.on_flink import FlinkRequest, check_together, run_on_flink
from headwater.cli.plan import project_option
from headwater.errors import ConfigInvalid
from headwater.times import time_ms

if TYPE_CHECKING:
    from headwater.cli.job.history import History, Outcome
    from headwater.cli.job.targets import Request
    from headwater.jobs.job import HistoryOrder, Job
    from headwater.processing.batch.run import HistorySettings

STOPPED = 130
FOREIGN_LISTED_MAX = 5
REFUSALS_SHOWN_MAX = 5


@click.command(
    short_help="Run one job over files, without a server, or on Flink.",
    epilog="""\b
Examples:
  headwater job run page_edits --from edits.jsonl.gz --to out.jsonl --errors errors.jsonl
  headwater job run page_edits --from 'day/*.jsonl.gz' --to page_edits.v1=out.jsonl.gz
  zcat edits.jsonl.gz | headwater job run page_edits --from - --to -
  headwater job run page_edits --on flink
  headwater job run page_edits --on flink://flink:8081 --parallelism 4""",
)
@click.argument("name")
@project_option
@click.option(
    "--from",
    "sources",
    multiple=True,
    metavar="SRC",
    help="File of events (JSON lines, also gzipped, Parquet, or an XML dump of a wiki), directory, pattern in quotes, "
    "`-`, or `log`, the project's log; may be repeated. STREAM=SRC takes all its events as those of a stream that the "
    "job reads.",
)
@click.option(
    "--to",
    "targets",
    multiple=True,
    metavar="DST",
    help="File for the job's events, by its extension gzipped or Parquet, `-`, or `log`, the project's log. "
    "STREAM=DST, repeated, divides them by stream.",
)
@click.option(
    "--on",
    "engine",
    metavar="ENGINE",
    help="Run the job on the project's streams in Apache Flink instead of over files: `flink`, in a process of this "
    "command, or `flink://HOST:PORT`, a cluster.",
)
@click.option(
    "--parallelism", type=click.IntRange(1, 128), help="On Flink: in how many parts.  [default: flink.parallelism]"
)
@click.option(
    "--guarantee",
    type=click.Choice(["at-least-once", "exactly-once"]),
    help="On Flink: how results are written.  [default: flink.guarantee]",
)
@click.option(
    "--python",
    "mode",
    type=click.Choice(["process", "thread"]),
    help="On Flink: where Python runs.  [default: flink.mode]",
)
@click.option(
    "--never-idle", is_flag=True, help='On Flink: let timers fire by events alone, as a job with idle="never" does.'
)
@click.option(
    "--until-end", is_flag=True, help="On Flink: end with what is in the streams now, and emit all windows then."
)
@click.option(
    "--from-savepoint", "savepoint", metavar="PATH", help="On Flink: the savepoint or checkpoint to start from."
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
@click.pass_context
def command(
    context: click.Context,
    /,
    *,
    name: str,
    project: Path,
    engine: str | None,
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
    **on_flink: Any,
) -> None:
    """Run the job NAME over the events in files, and write its results to files; or, with --on, on Apache Flink.

    The job runs as it does in a server, on input that ends: steps, state, timers, ids and error events are the same,
    and at the end all windows are emitted. Events are validated, repeats of a meta.id within a day are left out, and
    so are canaries; a line that is not a valid event gives an error event, and the run continues. An object with
    neither `$schema` nor `meta` is an event of the stream that its file is given for, or whose schema it agrees with.

    Result files are there only when they are whole. An interrupted run resumes when the same command is run again; if
    its input or the job's code has changed, it starts again from the beginning. The exit code is 0 when the input was
    processed to its end.

    With --on flink the job reads and writes the project's streams, in Kafka, until Ctrl + C; with --on
    flink://HOST:PORT a cluster is given the job, and the command ends.
    """
    check_together(context, engine)
    if engine is not None:
        raise SystemExit(run_on_flink(project, FlinkRequest(name, engine, **on_flink)))
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
    history = _history(
        project,
        Request(name, sources, targets, errors, late, state, settings, restart, tables),
        HistorySettings(order=order, rules=rules, events_per_second=rate, hands_over=hand_over),
    )
    if history is None:
        return
    outcome = _run(history)
    if as_json:
        print_json(outcome.as_json())
    else:
        _show(history.job, outcome, errors, in_log=LOG[0] in targets)
    for damage in outcome.damage:
        report_error(damage)
    raise SystemExit(1 if outcome.damage or (fail_on_errors and outcome.summary.errors) else 0)


def _history(project: Path, request: Request, settings: HistorySettings) -> History | None:
    """The run; None if it has handed its job over before."""
    from headwater.cli.job.history import History

    history = History(project, request, settings)
    if history.was_handed_over:
        history.clear()
        say(
            f"This command has handed over the job {request.name} before: the server continues it. Nothing was left to"
            " do."
        )
        return None
    return history


def _run(history: History) -> Outcome:
    try:
        return history.run()
    except KeyboardInterrupt:
        say("Stopped. Run the same command to resume.")
        raise click.exceptions.Exit(STOPPED) from None


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


def _show(job: Job, outcome: Outcome, errors: Path | None, *, in_log: bool) -> None:
    """The summary for people, on standard error. `errors`, `in_log`: where the error events are."""
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
    if summary.errors:
        _show_errors(job, errors, in_log=in_log)
