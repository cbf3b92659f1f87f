"""`headwater job new`: a job with its schema, stream, tests and runbook, which pass as they are written."""

from __future__ import annotations

import contextlib
import io
import keyword
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headwater.cli.console import FIRST_JOB_PAGE, called_as, say
from headwater.cli.job.scaffold.kinds import KINDS, NEED_KEY, TABLES, Kind
from headwater.cli.plan import project_option
from headwater.errors import ConfigInvalid, HeadwaterError, JobInvalid

if TYPE_CHECKING:
    from headwater.cli.job.scaffold.plan import Plan
    from headwater.config import Config
    from headwater.jobs.job import Job
    from headwater.streams.registry import StreamRegistry
    from headwater.streams.stream import Stream

NAME_CHARS_MAX = 60
_NO_NAME = re.compile(r"[^A-Za-z0-9_]+")
_OTHER = "Choose another name."
_VERSION = re.compile(r":\d+\.\d+\.\d+\Z")


@click.command(
    short_help="Create a job with its schema, stream, tests and runbook.",
    epilog="""\b
Examples:
  headwater job new page_sizes --source demo.edit
  headwater job new edits_by_user --source demo.edit --key user --sink demo.edits_by_user
  headwater job new edits_per_hour --source demo.edit --kind window --key wiki
  headwater job new wiki_languages --source demo.edit --kind lookup --key wiki""",
)
@click.argument("name")
@click.option("--source", metavar="STREAM", help="The stream that the job reads.  [required]")
@click.option("--sink", metavar="STREAM", help="The stream that it writes.  [default: NAME]")
@click.option(
    "--kind",
    type=click.Choice(KINDS),
    help="function: an output for each event; state: a count for each key; window: a count for each key and hour; "
    "lookup: asks a service about each event, and with --key counts what it says; sql: a query that never ends; "
    "table: the newest event of each key as a row of a database; materialized: the same as state, for other jobs.  "
    "[default: function, with --key state]",
)
@click.option(
    "--key",
    "keys",
    metavar="PATH",
    multiple=True,
    help="Field by which state is kept, such as user or performer.name; may be repeated.",
)
@project_option
def command(
    *, name: str, source: str | None, sink: str | None, kind: Kind | None, keys: tuple[str, ...], project: Path
) -> None:
    """Create the job NAME, a Python name: jobs/NAME.py, the schema and the stream of its output, tests and a runbook.

    Everything works as it is written: `headwater check` has no errors and `pytest` passes. Then replace the body of the
    function, the fields of the schema and the tests by your own.
    """
    from headwater.cli.up.up import require_project
    from headwater.config import load_config

    require_project(project)
    _require_name(name)
    config = load_config(project)
    plan = _planned(config, name, source, _kind(kind, keys, sink), sink, keys=keys)
    _write(config, plan)
    say(f"Next: edit {config.jobs.path}/{name}.py, then `{called_as()} check` and `pytest tests/test_{name}.py`.")
    say(f"From tests to history, errors and redriving: {FIRST_JOB_PAGE}")


def _planned(
    config: Config, name: str, source: str | None, kind: Kind, sink: str | None, *, keys: tuple[str, ...]
) -> Plan:
    """What is to be created. Raises UsageError, ConfigInvalid, StreamUnknown."""
    from headwater.processing.declarations import declarations

    streams, jobs = declarations(config)
    if source is None:
        known = ", ".join(sorted(one for one in streams.names() if not one.endswith(".error")))
        raise click.UsageError(f"Name the stream that the job reads with --source. The project has: {known}.")
    sink = None if kind in TABLES else _sink(sink or name.lower())
    _require_new(name, sink, kind, streams, jobs)
    plan = _plan(config, streams.get(source), name, kind, sink, keys=keys)
    return replace(plan, is_derived=any(source in job.writes().streams for job in jobs))


def _require_name(name: str) -> None:
    """Raises UsageError for what cannot be a function in a file of this name, on every system."""
    from headwater import jobs

    if name in {*jobs.__all__, "Any", "counted"}:
        raise click.UsageError(f"{name!r} is a name that the file of the job uses itself. Such as my_{name.lower()}.")
    if name.isidentifier() and name.isascii() and not keyword.iskeyword(name) and not name.startswith("_"):
        if len(name) <= NAME_CHARS_MAX:
            return
        raise click.UsageError(f"A name has at most {NAME_CHARS_MAX} characters, and {name[:20]!r}… has {len(name)}.")
    near = _NO_NAME.sub("_", name).strip("_").lower()
    near = f"job_{near}" if near[:1].isdigit() else near
    near = f"{near}_job" if keyword.iskeyword(near) else near
    hint = f" Such as {near}." if near and near != name else ""
    raise click.UsageError(
        f"{name!r} cannot be the name of a Python function in ASCII that does not begin with _.{hint}"
    )


def _kind(kind: Kind | None, keys: tuple[str, ...], sink: str | None) -> Kind:
    chosen = kind or ("state" if keys else "function")
    if chosen in NEED_KEY and not keys:
        raise click.UsageError(f"A job of the kind {chosen} needs --key, the field by which it keeps state.")
    if chosen == "function" and keys:
        raise click.UsageError("A job of the kind function has no --key. With one it is of the kind state.")
    if chosen in TABLES and sink is not None:
        raise click.UsageError("A table has no --sink: its name is NAME.")
    if any(not part for key in keys for part in key.split(".")) or len(set(keys)) < len(keys):
        raise click.UsageError("--key is the path of a field, such as user or performer.name, each named once.")
    return chosen


def _sink(sink: str) -> str:
    """The stream that is named, without a version: the first is 1.0.0. Raises UsageError."""
    from headwater.streams.stream_file import NAME

    name = _VERSION.sub("", sink)
    has_bare_number = "." in name and name.rpartition(".")[2].isdecimal()
    if not NAME.match(name) or name != name.lower() or has_bare_number:
        raise click.UsageError(
            f"{sink!r} cannot be the name of a new stream: use lower-case letters, digits, dots, _ and -, "
            "such as shop.totals or shop.totals.v2."
        )
    return name


def _require_new(name: str, sink: str | None, kind: Kind, streams: StreamRegistry, jobs: Sequence[Job]) -> None:
    names = {job.name.casefold() for job in jobs}
    if (name if kind != "table" else f"table.{name}").casefold() in names:
        raise ConfigInvalid(f"There is a {'table' if kind in TABLES else 'job'} {name} already.", hint=_OTHER)
    if sink is not None and sink.casefold() in {one.casefold() for one in streams.names()}:
        raise ConfigInvalid(f"There is a stream {sink} already.", hint=_OTHER)


def _plan(config: Config, stream: Stream, name: str, kind: Kind, sink: str | None, *, keys: tuple[str, ...]) -> Plan:
    from headwater.checking.project import schemas_of
    from headwater.cli.job.scaffold.example import example_of, require_fields, schema_of, time_path
    from headwater.cli.job.scaffold.plan import Plan, key_fields
    from headwater.event import get_path

    validator = schemas_of(config)
    document = schema_of(validator, stream)
    example = example_of(validator, stream, document)
    require_fields(keys, stream, example)
    if kind == "sql" and get_path(example, "dt") is None:
        raise ConfigInvalid(
            f"The example of {stream.schema_title} has no dt, by which the windows of a query go.",
            hint="Choose the kind window.",
        )
    fields = key_fields(keys, [document], example)
    return Plan(name, kind, stream.name, sink, fields, time_path(stream, example), example)


def _write(config: Config, plan: Plan) -> None:
    """Write everything, or nothing. Raises ConfigInvalid, SchemaInvalid, JobInvalid."""
    from headwater.checking.project import schemas_of
    from headwater.cli.job.scaffold.files import files_of
    from headwater.processing.declarations import declarations

    project = config.project_dir.resolve()
    files = {
        project / path: text
        for path, text in files_of(plan, jobs=config.jobs.path, streams=_directory_of_streams(config)).items()
    }
    if present := next((path for path in files if path.exists()), None):
        raise ConfigInvalid(f"{present} exists already.", hint=_OTHER)
    with _all_or_nothing() as written:
        if plan.sink is not None:
            _write_schema(config, plan, written)
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            written.append(path)
            path.write_text(text, encoding="utf-8")
        if plan.sink is not None:
            # What was written has to be what the project reads.
            schemas_of(config).repository.get(f"/{plan.title}/1.0.0")
        if plan.name not in {job.name.removeprefix("table.") for job in declarations(config)[1]}:
            raise JobInvalid(f"The job {plan.name} is not among the jobs of the project after it was written.")
    for path in written:
        click.echo(path.relative_to(project).as_posix())


def _directory_of_streams(config: Config) -> str:
    place = config.path(config.streams.path)
    if place.is_file():
        raise ConfigInvalid(
            f"{place} is one file of all streams, into which this verb does not write.",
            hint="Declare streams in a directory, a file each, to create jobs with their streams.",
        )
    return config.streams.path


@contextmanager
def _all_or_nothing() -> Iterator[list[Path]]:
    """Files that are removed if an error follows."""
    written: list[Path] = []
    try:
        yield written
    except (HeadwaterError, OSError):
        for path in written:
            path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                path.parent.rmdir()
        raise


def _write_schema(config: Config, plan: Plan, written: list[Path]) -> None:
    """Write the schema of the output and materialize it. Raises ConfigInvalid, SchemaInvalid."""
    from headwater.cli.schema import materialize, new
    from headwater.schemas.workspace.working_copy import WorkingCopy

    repository = next((uri for uri in config.schema_base_uris if "://" not in uri), None)
    if repository is None:
        raise ConfigInvalid(
            "The project has no directory of schemas, in which that of the output could be written.",
            hint="Add one to `schemas` in headwater.yaml.",
        )
    wanted = [plan.title, "--description", f"Made by the job {plan.name} from {plan.source}."]
    fields = [part for name, (kind, _) in plan.fields.items() for part in ("--field", f"{name}:{kind}!")]
    # Their advice on what to do next is not that of this verb.
    with contextlib.redirect_stderr(io.StringIO()) as said, contextlib.redirect_stdout(said):
        new.command.main([*wanted, "--repository", repository, *fields], standalone_mode=False)
        copy = WorkingCopy.open(repository)
        current = copy.base / plan.title / copy.settings.current_file
        written.append(current)
        text = current.read_text(encoding="utf-8")
        for name, (_, description) in plan.fields.items():
            text = text.replace(f"'TODO: describe `{name}`.'", description)
        current.write_text(text, encoding="utf-8")
        with contextlib.suppress(SystemExit):
            materialize.command.main([plan.title, "--repository", repository], standalone_mode=False)
    written += sorted(set(current.parent.iterdir()) - {current})
