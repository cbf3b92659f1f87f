"""`headwater check`: validates everything in a project and says file, line and what to do; the gate before a change."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from headwater.cli.console import print_json, progress
from headwater.cli.up import require_project
from headwater.errors import ConfigInvalid, HeadwaterError, JobInvalid, StreamUnknown

if TYPE_CHECKING:
    from headwater.config import Config
    from headwater.schemas.validator import Validator
    from headwater.streams.registry import StreamRegistry
    from headwater.streams.stream import Stream


Loaded = TypeVar("Loaded")

_JOB_PLACE = re.compile(r"(?P<file>[^/:\s]+\.py):(?P<line>\d+): (?P<rest>.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. `file` is relative to the project; `line` is 1-based."""

    message: str
    file: str | None = None
    line: int | None = None
    hint: str | None = None

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " if self.file and self.line else f"{self.file}: " if self.file else ""
        return place + self.message


@dataclass(frozen=True, slots=True)
class Checked:
    """What was looked at."""

    schemas: int = 0
    streams: int = 0
    jobs: int = 0


@click.command(
    short_help="Validate everything in a project.", epilog="Example:  headwater check --project my-platform --json"
)
@click.option(
    "--project",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="The project directory; the present one by default.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per problem.")
def command(project: Path, as_json: bool) -> None:
    """Check settings, schemas, streams and jobs of a project. The exit code is 1 when something is wrong."""
    require_project(project)
    problems, checked = check_project(project)
    for problem in problems:
        if as_json:
            print_json({"file": problem.file, "line": problem.line, "message": problem.message, "hint": problem.hint})
            continue
        click.secho(str(problem), fg="red")
        if problem.hint:
            click.echo(f"  → {problem.hint}")
    if not as_json:
        found = f"{checked.schemas} schemas, {checked.streams} streams and {checked.jobs} jobs"
        verdict = f"{len(problems)} problems in" if problems else "All is well with"
        click.secho(f"{verdict} {found}.", fg="red" if problems else "green")
    raise SystemExit(1 if problems else 0)


def check_project(project: Path) -> tuple[list[Problem], Checked]:
    """Everything that is wrong with the project, as far as it can be told without running it."""
    from headwater.config import load_config

    problems: list[Problem] = []
    try:
        config = load_config(project)
    except ConfigInvalid as error:
        return [_problem(error, project)], Checked()
    streams = _guarded(problems, project, lambda: _load_streams(config))
    titles, validator, schemas = _check_schemas(config, problems, project)
    if streams is not None:
        for stream in (*streams.all(), *streams.families()):
            problems += _check_stream(stream, titles, validator, project)
    jobs = _check_jobs(config, streams, problems, project)
    count = len(streams.all()) + len(streams.families()) if streams is not None else 0
    return problems, Checked(schemas, count, jobs)


def _guarded(problems: list[Problem], project: Path, load: Callable[[], Loaded]) -> Loaded | None:
    try:
        return load()
    except HeadwaterError as error:
        problems.append(_problem(error, project))
        return None


def _load_streams(config: Config) -> StreamRegistry:
    from headwater.streams.registry import StreamRegistry

    return StreamRegistry.load(config.path(config.streams.path))


def _check_schemas(
    config: Config, problems: list[Problem], project: Path
) -> tuple[dict[str, list[str]], Validator, int]:
    """Compile every schema that can be listed; title → URIs."""
    from headwater.schemas.repository import open_repositories
    from headwater.schemas.validator import Validator

    validator = Validator(open_repositories(config.schema_base_uris, extension=config.schemas.file_extension))
    titles: dict[str, list[str]] = {}
    uris = sorted(validator.repository.uris())
    with progress("Compiling schemas", len(uris), unit="schemas") as advance:
        for uri in uris:
            try:
                schema = validator.compile(uri).schema
                if schema.title:
                    titles.setdefault(schema.title, []).append(uri)
            except HeadwaterError as error:
                problems.append(Problem(error.message, _schema_file(config, uri, project), hint=error.hint))
            advance(1, uri)
    return titles, validator, len(uris)


def _schema_file(config: Config, uri: str, project: Path) -> str:
    for base in config.schema_base_uris:
        for extension in (config.schemas.file_extension or "", ""):
            path = Path(base + uri + extension)
            if path.is_file():
                return _relative(str(path), project) or uri
    return uri


def _check_stream(
    stream: Stream, titles: dict[str, list[str]], validator: Validator, project: Path
) -> Iterator[Problem]:
    file = _relative(stream.file, project)
    if stream.schema_title is None or not titles:
        return
    if stream.schema_title not in titles:
        import difflib

        near = difflib.get_close_matches(stream.schema_title, titles, n=1)
        yield Problem(
            f'the stream "{stream.name}" has the schema title "{stream.schema_title}", which no schema has.',
            file,
            stream.line,
            f'Did you mean "{near[0]}"?' if near else "Add a schema with that title, or correct schema_title.",
        )
        return
    for uri in titles[stream.schema_title]:
        schema = validator.compile(uri).schema
        for path in (stream.message_key_fields or {}).values():
            if not schema.declares(path):
                yield Problem(
                    f'the key of "{stream.name}" is made from {path}, which the schema {uri} does not declare.',
                    file,
                    stream.line,
                    "Correct message_key_fields, or declare the field.",
                )


def _check_jobs(config: Config, streams: StreamRegistry | None, problems: list[Problem], project: Path) -> int:
    """Load the job files; every stream a job reads, writes or sends late events to must be declared."""
    from headwater.processing import Job, ToStream
    from headwater.processing.loader import load_jobs

    none: list[Job] = []
    jobs = _guarded(problems, project, lambda: load_jobs(config.path(config.jobs.path))) or none
    for job in jobs:
        written = [job.output.stream] if isinstance(job.output, ToStream) else []
        for name in (*job.sources, *written, *([job.late_stream] if job.late_stream else [])):
            try:
                if streams is not None:
                    streams.get(name)
            except StreamUnknown as error:
                problems.append(Problem(f"the job {job.name}: {error.message}", config.jobs.path, None, error.hint))
    return len(jobs)


def _problem(error: HeadwaterError, project: Path) -> Problem:
    if isinstance(error, ConfigInvalid):
        place = f"{error.file}:{error.line}: " if error.file and error.line else f"{error.file}: " if error.file else ""
        return Problem(error.message.removeprefix(place), _relative(error.file, project), error.line, error.hint)
    if isinstance(error, JobInvalid) and (found := _JOB_PLACE.match(error.message)):
        return Problem(found["rest"], f"jobs/{found['file']}", int(found["line"]), error.hint)
    return Problem(error.message, hint=error.hint)


def _relative(file: str | None, project: Path) -> str | None:
    if file is None:
        return None
    try:
        return str(Path(file).resolve().relative_to(project.resolve()))
    except ValueError:
        return file
