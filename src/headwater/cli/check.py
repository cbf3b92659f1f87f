"""`headwater check`: validates everything in a project and says file, line and what to do; the gate before a change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from headwater.cli.console import print_json, progress
from headwater.cli.up import require_project
from headwater.errors import ConfigInvalid, HeadwaterError, StreamUnknown

if TYPE_CHECKING:
    from headwater.config import Config
    from headwater.schemas.validator import Validator
    from headwater.streams.registry import StreamRegistry


Loaded = TypeVar("Loaded")

_COLOURS = {"error": "red", "warning": "yellow", "note": "cyan"}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. `file` is relative to the project; `line` is 1-based."""

    message: str
    file: str | None = None
    line: int | None = None
    hint: str | None = None
    # Which rule found it, by its stable id, where it has one.
    rule: str | None = None
    severity: str = "error"

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
@click.option("--notes", is_flag=True, help="Print notes too: what could be better, but is not wrong.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per problem.")
def command(project: Path, notes: bool, as_json: bool) -> None:
    """Check settings, schemas, streams and jobs of a project. The exit code is 1 when there are errors."""
    require_project(project)
    found, checked = check_project(project)
    problems = [problem for problem in found if notes or problem.severity != "note"]
    for problem in problems:
        if as_json:
            print_json(asdict(problem))
        else:
            _print_problem(problem)
    errors = sum(problem.severity == "error" for problem in problems)
    if not as_json:
        _print_verdict(problems, errors, checked)
    raise SystemExit(1 if errors else 0)


def _print_problem(problem: Problem) -> None:
    severity = "" if problem.severity == "error" else f"{problem.severity}: "
    click.secho(f"{severity}{problem}", fg=_COLOURS[problem.severity], nl=False)
    click.secho(f" [{problem.rule}]" if problem.rule else "", dim=True)
    if problem.hint:
        click.echo(f"  → {problem.hint}")


def _print_verdict(problems: Sequence[Problem], errors: int, checked: Checked) -> None:
    looked_at = f"{checked.schemas} schemas, {checked.streams} streams and {checked.jobs} jobs"
    verdict = f"{_counted(errors, 'error')} in" if errors else "All is well with"
    counts = [(sum(one.severity == name for one in problems), name) for name in ("warning", "note")]
    others = "".join(f" {_counted(count, name)}." for count, name in counts if count)
    click.secho(f"{verdict} {looked_at}.{others}", fg="red" if errors else "green")


def _counted(count: int, name: str) -> str:
    return f"{count} {name}{'' if count == 1 else 's'}"


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
    problems += _check_rules(config, project)
    if streams is not None:
        problems += _check_streams(config, streams, titles, validator, project)
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


def _check_rules(config: Config, project: Path) -> list[Problem]:
    """The rules of `headwater schema check`, for each directory of schemas that has settings of its own."""
    from headwater.schemas.rules import check_schemas
    from headwater.schemas.working_copy import WorkingCopy
    from headwater.schemas.working_settings import SETTINGS_FILE

    problems: list[Problem] = []
    for base in config.schema_base_uris:
        if base.startswith(("http://", "https://")) or not Path(base).is_dir():
            continue
        try:
            copy = WorkingCopy.open(base)
            # Without settings a directory may hold released versions only, and nothing to make them from.
            found = check_schemas(copy).findings if (copy.root / SETTINGS_FILE).is_file() else ()
        except HeadwaterError as error:
            problems.append(_problem(error, project))
            continue
        for one in found:
            # That a version compiles, and its references, was looked at already.
            if one.waived is None and one.rule.id != "schema-compiles":
                file = _relative(str(copy.root / one.file), project) if one.file else None
                problems.append(Problem(one.message, file, one.line, one.hint, one.rule.id, one.severity.value))
    return problems


def _check_streams(
    config: Config, streams: StreamRegistry, titles: dict[str, list[str]], validator: Validator, project: Path
) -> list[Problem]:
    from headwater.cli.check_streams import findings

    problems: list[Problem] = []
    found = _guarded(problems, project, lambda: findings(config, streams, titles, validator)) or []
    for one in found:
        file = _relative(one.file, project)
        problems.append(Problem(one.message, file, one.line, one.hint, one.rule.id, one.rule.severity.value))
    return problems


def _check_jobs(config: Config, streams: StreamRegistry | None, problems: list[Problem], project: Path) -> int:
    """Load the job files; every stream a job reads, writes or sends late events to must be declared."""
    from headwater.processing import Job, ToStream
    from headwater.processing.loader import load_jobs

    none: list[Job] = []
    jobs = _guarded(problems, project, lambda: load_jobs(config.path(config.jobs.path), config.project_dir)) or none
    for job in jobs:
        written = [job.output.stream] if isinstance(job.output, ToStream) else []
        for name in (*job.sources, *written, *([job.late_stream] if job.late_stream else [])):
            try:
                if streams is not None:
                    streams.get(name)
            except StreamUnknown as error:
                file, line = job.place or (config.jobs.path, None)
                problems.append(Problem(f"the job {job.name}: {error.message}", file, line, error.hint))
    return len(jobs)


def _problem(error: HeadwaterError, project: Path) -> Problem:
    if isinstance(error, ConfigInvalid):
        return Problem(error.detail, _relative(error.file, project), error.line, error.hint)
    return Problem(error.message, hint=error.hint)


def _relative(file: str | None, project: Path) -> str | None:
    if file is None:
        return None
    try:
        return str(Path(file).resolve().relative_to(project.resolve()))
    except ValueError:
        return file
