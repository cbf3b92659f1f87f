"""`headwater job new`: a job with its schema, stream, tests and runbook, which pass as they are written."""

from __future__ import annotations

import contextlib
import copy
import io
import keyword
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headwater.cli.console import called_as
from headwater.cli.plan import project_option
from headwater.errors import ConfigInvalid

if TYPE_CHECKING:
    from headwater.config import Config
    from headwater.streams.stream import Stream

# The time and the id of the example in the tests.
EXAMPLE_TIME = "2026-01-31T12:00:00Z"
EXAMPLE_ID = "11111111-2222-4333-8444-555555555555"


@click.command(
    short_help="Create a job with its schema, stream, tests and runbook.",
    epilog="""\b
Examples:
  headwater job new page_sizes --source demo.edit
  headwater job new edits_by_user --source demo.edit --key user --sink demo.edits_by_user""",
)
@click.argument("name")
@click.option("--source", required=True, metavar="STREAM", help="The stream that the job reads.")
@click.option("--sink", metavar="STREAM", help="The stream that it writes.  [default: NAME]")
@click.option("--key", metavar="PATH", help="Keep state for each value of this field, such as user or performer.name.")
@project_option
def command(*, name: str, source: str, sink: str | None, key: str | None, project: Path) -> None:
    """Create the job NAME, a Python name: jobs/NAME.py, the schema and the stream of its output, tests and a runbook.

    Everything works as it is written: `headwater check` has no errors and `pytest` passes. Then replace the body of the
    function, the fields of the schema and the tests by your own.
    """
    from headwater.cli.job.scaffold import Scaffold
    from headwater.cli.up.up import require_project
    from headwater.config import load_config
    from headwater.platform import declarations

    require_project(project)
    if not name.isidentifier() or keyword.iskeyword(name) or name.startswith("_"):
        raise click.UsageError(f"{name!r} cannot be the name of a Python function.")
    config = load_config(project)
    streams, jobs = declarations(config)
    stream = streams.get(source)
    sink = sink or name
    if name in {job.name for job in jobs} or sink in streams:
        taken = f"job {name}" if name in {job.name for job in jobs} else f"stream {sink}"
        raise ConfigInvalid(f"There is a {taken} already.", hint="Choose another name.")
    scaffold = Scaffold(name, source, sink, key, _example(config, stream, key))
    files = {project / path: text for path, text in scaffold.files().items()}
    if present := next((path for path in files if path.exists()), None):
        raise ConfigInvalid(f"{present} exists already.", hint="Choose another name.")
    _write_schema(project, scaffold.title, scaffold.fields(), f"Made by the job {name} from {source}.")
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        click.echo(path.relative_to(project))
    click.echo(f"Next: edit jobs/{name}.py, then `{called_as()} check` and `pytest tests/test_{name}.py`.")


def _write_schema(project: Path, title: str, fields: tuple[str, ...], description: str) -> None:
    from headwater.cli.schema import materialize, new

    wanted = [title, "--description", description, "--repository", str(project)]
    # Their advice on what to do next is not that of this verb.
    with contextlib.redirect_stderr(io.StringIO()):
        new.command.main([*wanted, *(part for field in fields for part in ("--field", field))], standalone_mode=False)
        with contextlib.suppress(SystemExit):
            materialize.command.main([title, "--repository", str(project)], standalone_mode=False)


def _example(config: Config, stream: Stream, key: str | None) -> dict[str, Any]:
    """An event of the stream that its schema accepts: an example of the schema with the fields of the envelope."""
    from headwater.checking.project import schemas_of
    from headwater.errors import SchemaNotFound
    from headwater.event import get_path

    if stream.schema_title is None:
        raise ConfigInvalid(f"{stream.name} has no schema_title, so its events are not known.")
    validator = schemas_of(config)
    try:
        schema = validator.repository.get(f"/{stream.schema_title}/latest")
    except SchemaNotFound as error:
        raise ConfigInvalid(error.message, hint=error.hint) from None
    examples = [one for one in schema.document.get("examples", ()) if isinstance(one, dict)]
    example = copy.deepcopy(examples[0]) if examples else {}
    uri = example.get("$schema") if isinstance(example.get("$schema"), str) else schema.document.get("$id", schema.uri)
    meta = example.get("meta") if isinstance(example.get("meta"), dict) else {}
    made = {**example, "$schema": uri, "meta": {**(meta or {}), "stream": stream.name, "id": EXAMPLE_ID}}
    made.setdefault("dt", EXAMPLE_TIME)
    made["meta"].setdefault("dt", made["dt"])
    if violations := validator.compile(str(uri)).violations(made):
        raise ConfigInvalid(
            f"The schema {stream.schema_title} has no example from which a test could be made: {violations[0]}.",
            hint="Add one to `examples` in its current.yaml, and materialize it.",
        )
    if key is not None and get_path(made, key) is None:
        raise ConfigInvalid(f"The example of {stream.schema_title} has no {key}, which is to be the key.")
    return made
