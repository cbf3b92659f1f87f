"""`headwater schema validate`: validates every line of a file of events."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headwater.cli.console import print_json, report_error, say
from headwater.cli.options import repositories_option
from headwater.errors import EventInvalid, EventMalformed, HeadwaterError, SchemaUnavailable
from headwater.event_lines import open_lines, require_whole

if TYPE_CHECKING:
    from headwater.schemas import Validator


@click.command(
    short_help="Validate every event of a file.",
    epilog="""\b
Examples:
  headwater schema validate events.jsonl
  headwater schema validate events.jsonl.gz --repository ./schemas --repository https://schemas.example.org/repository
  headwater schema validate - --json < events.jsonl | jq 'select(.valid | not)'""",
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
@repositories_option
@click.option(
    "--file-extension",
    metavar="EXTENSION",
    help="Extension appended to a schema URI that has none; may be empty.  [default: the project's, or .yaml]",
)
def command(file: str, as_json: bool, bases: tuple[str, ...], file_extension: str | None) -> None:
    """Validate every line of FILE (one event each; .gz is read, too; - is standard input).

    Each event is validated against the schema named by its `$schema`, after defaults are set. The exit code is 0 when
    every line is valid, else 1.
    """
    validator = _open_validator(bases, file_extension)
    total = invalid = 0
    with open_lines(Path(file)) as source:
        for number, line in enumerate(source, start=1):
            if not line.strip():
                continue
            verdict = _judge(line, validator)
            total += 1
            invalid += not verdict["valid"]
            if as_json:
                print_json({"line": number, **verdict})
            elif not verdict["valid"]:
                _print_refusal(number, verdict)
    if not as_json:
        say(f"{total - invalid} of {total} events are valid.")
    if source.damage:
        report_error(str(source.damage), "Get the file again.")
    raise SystemExit(1 if invalid or source.damage else 0)


def _open_validator(bases: tuple[str, ...], extension: str | None) -> Validator:
    from headwater.config import load_config
    from headwater.schemas import Validator, open_repositories

    project = Path()
    if bases:
        default_extension: str | None = ".yaml"
    else:
        config = load_config(project).schemas
        bases, default_extension = tuple(config.base_uris), config.file_extension
    chosen = default_extension if extension is None else extension or None
    return Validator(open_repositories(bases, root=project, extension=chosen))


def _judge(line: bytes, validator: Validator) -> dict[str, Any]:
    """The result as plain values. Raises only if a schema cannot be loaded, which is not the event's fault."""
    from headwater.event import Event
    from headwater.schemas import check_producer_uri

    schema_uri = None
    try:
        require_whole(line)
        event = Event.decode(line)
        schema_uri = event.schema_uri
        if schema_uri is None:
            raise EventMalformed("The event has no `$schema`.")
        check_producer_uri(schema_uri)
        value = dict(event.value)
        if validator.compile(schema_uri).fill_defaults(value):
            event = Event(value)
        validator.check(event)
    except EventInvalid as error:
        violations = [
            {"pointer": one.pointer, "keyword": one.keyword, "message": one.message} for one in error.violations
        ]
        return {"valid": False, "schema": schema_uri, "code": error.code, "violations": violations}
    except SchemaUnavailable:
        raise
    except HeadwaterError as error:
        return {"valid": False, "schema": schema_uri, "code": error.code, "message": str(error), "violations": []}
    return {"valid": True, "schema": schema_uri}


def _print_refusal(number: int, verdict: dict[str, Any]) -> None:
    if not verdict["violations"]:
        click.echo(f"{number}: {verdict['message']}")
    for violation in verdict["violations"]:
        click.echo(f"{number}: {violation['pointer'] or '(the event)'} {violation['message']}")
