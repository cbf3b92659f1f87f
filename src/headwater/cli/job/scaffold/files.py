"""All files of a new job besides its schema: path in the project → text."""

from __future__ import annotations

from pathlib import Path

from headwater.cli.job.scaffold.code import job_code
from headwater.cli.job.scaffold.plan import Plan
from headwater.cli.job.scaffold.tests import tests_code
from headwater.streams.writing import stream_file_text


def files_of(plan: Plan, *, jobs: str, streams: str) -> dict[Path, str]:
    """The files of a new job; `jobs` and `streams`: the directories that the project has for these."""
    job = Path(jobs, f"{plan.name}.py")
    stream = {} if plan.sink is None else {Path(streams, f"{plan.sink}.yaml"): _stream(plan, job)}
    return stream | {
        job: job_code(plan),
        Path("tests", f"test_{plan.name}.py"): tests_code(plan),
        Path("runbooks", f"{plan.name}.md"): _runbook(plan, job),
    }


def _stream(plan: Plan, job: Path) -> str:
    keys = {"message_key_fields": {key.name: key.name for key in plan.keys}} if plan.keys else {}
    return stream_file_text(
        {
            "apiVersion": "streams/v1",
            "kind": "Stream",
            "stream": plan.sink,
            "schema_title": plan.title,
            "event_time": "dt",
            "docs": {"summary": f"Made by {job.as_posix()} from {plan.source}.", "owner": "team:unknown"},
            "transport": {**keys, "retention": "30d"},
        }
    )


def _runbook(plan: Plan, job: Path) -> str:
    name = f"table.{plan.name}" if plan.kind == "table" else plan.name
    writes = f"`{plan.sink}`" if plan.sink else f"the table `{plan.name}`"
    return f"""# {plan.name}

Reads `{plan.source}`, writes {writes}. The code is `{job.as_posix()}`, its tests are `tests/test_{plan.name}.py`.

{_kept(plan)}
{_service(plan, name)}
## Is it well?

- `headwater job show {name}`: the lag should be near 0, and nothing should have failed.
- The page `/monitoring` of the platform shows the same, and `/readyz` reports a job that fails.

## Events failed

```sh
headwater errors list {name}
headwater errors show GROUP
```

prints what failed, by cause, and one of the events with the place in the code. Repair the job, add a test with such an
event, restart the platform, and process them again:

```sh
headwater errors redrive {name}
```

## Run it over history

```sh
headwater job run {name} --from events.jsonl.gz --to output.jsonl --errors errors.jsonl
```

Into the log, so that the platform continues where it ends: stop the platform, and

```sh
headwater job run {name} --from events.jsonl.gz --from log --to log --hand-over
```

If the job has run before: `headwater job reset {name} --yes` first.

## Stop it, or let it begin again

`headwater job pause {name}`, `resume`, `reset` and `rewind`. While the platform runs they need `--server` and an API
key.
"""


def _service(plan: Plan, name: str) -> str:
    if plan.kind != "lookup":
        return ""
    return f"""
## The service it asks

Its address is the setting `service`. Another one, in `headwater.yaml`:

```yaml
jobs:
  settings:
    {plan.name}:
      service: https://service.example.org
```

If the service is away, the job waits and reads on when it is back: `headwater job show {name}` and `/readyz` say so.
"""


def _kept(plan: Plan) -> str:
    if plan.kind == "materialized":
        return (
            "The rows are its state: jobs read them with `context.table`, people with `headwater sql` and at `/tables`."
        )
    if plan.kind == "table":
        return "The rows and its position are in the file of the tables. If it is deleted, it is filled again."
    if plan.kind in ("window", "sql"):
        return "It keeps the counts of the hours that are not over yet, for each key."
    if plan.kind == "state" or (plan.kind == "lookup" and plan.keys):
        keys = " and ".join(f"`{key.path}`" for key in plan.keys)
        return (
            f"It keeps a count for each {keys}; `headwater job show {plan.name}` prints how many there are.\n"
            "If the state changes its form, raise `state_version` and give it a `migrate`."
        )
    return "It keeps no state: it can be run again over history at any time."
