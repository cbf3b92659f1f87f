"""The files of a new job: the job, its stream, its tests and its runbook, as text."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Scaffold:
    """A new job. `key`: a dotted path if it keeps state per key; `example`: an event of its source that is valid."""

    name: str
    source: str
    sink: str
    key: str | None
    example: Mapping[str, Any]

    @property
    def title(self) -> str:
        """Of the output's schema: the stream without a version at its end, with slashes."""
        return re.sub(r"\.v[0-9]+$", "", self.sink).replace(".", "/")

    def files(self) -> dict[Path, str]:
        """Path in the project → text."""
        return {
            Path(f"streams/{self.sink}.yaml"): self._stream(),
            Path(f"jobs/{self.name}.py"): self._keyed_job() if self.key else self._job(),
            Path(f"tests/test_{self.name}.py"): self._tests(),
            Path(f"runbooks/{self.name}.md"): self._runbook(),
        }

    def fields(self) -> tuple[str, ...]:
        """The fields of the output's schema, besides `$schema`, `meta` and `dt`."""
        return ("key:string!", "count:integer!") if self.key else ("source_id:string!",)

    def _stream(self) -> str:
        key = "  message_key_fields: {key: key}\n" if self.key else ""
        return (
            "apiVersion: streams/v1\n"
            "kind: Stream\n"
            f"stream: {self.sink}\n"
            f"schema_title: {self.title}\n"
            "event_time: dt\n"
            "docs:\n"
            f"  summary: Made by jobs/{self.name}.py from {self.source}.\n"
            "  owner: team:unknown\n"
            "transport:\n"
            f"{key}"
            "  retention: 30d\n"
        )

    def _job(self) -> str:
        return f'''"""The job {self.name}: {self.source} → {self.sink}."""

from headwater.jobs import job


@job(source="{self.source}", sink="{self.sink}:1.0.0")
def {self.name}(event, context):
    """One event for each of {self.source}."""
    # Return the output, a list of several, or None. An exception makes an error event in {self.name}.error.
    return {{"dt": event["dt"], "source_id": event["meta"]["id"]}}
'''

    def _keyed_job(self) -> str:
        path = "".join(f'["{part}"]' for part in (self.key or "").split("."))
        return f'''"""The job {self.name}: {self.source} → {self.sink}."""

from headwater.jobs import job


@job(source="{self.source}", sink="{self.sink}:1.0.0", key="{self.key}", state=int)
def {self.name}(event, context):
    """How many events of {self.source} there were for each {self.key}."""
    # The state is committed with the output. An exception makes an error event in {self.name}.error.
    context.state += 1
    return {{"dt": event["dt"], "key": str(event{path}), "count": context.state}}
'''

    def _tests(self) -> str:
        example = _python(self.example)
        path = "".join(f'["{part}"]' for part in (self.key or "").split("."))
        value = f'"key": str(EVENT{path}), "count": 1' if self.key else '"source_id": EVENT["meta"]["id"]'
        expected = f'[{{"dt": EVENT["dt"], {value}}}]'
        return f'''"""Tests of the job {self.name}: run them with `pytest`."""

from headwater.testing.run_job import run

EVENT = {example}


def test_an_event_gives_its_output(headwater_job):
    outcome = run(headwater_job("{self.name}"), [EVENT])
    assert outcome.errors == []
    assert outcome.values == {expected}


def test_an_event_without_its_fields_is_an_error_event_and_the_next_is_processed(headwater_job):
    outcome = run(headwater_job("{self.name}"), [{{"$schema": EVENT["$schema"], "meta": {{"id": "empty"}}}}, EVENT])
    assert len(outcome.errors) == 1
    assert len(outcome.values) == 1


def test_it_runs_in_the_project_with_the_real_schemas(headwater_project):
    headwater_project.post(EVENT)
    headwater_project.run_jobs()
    assert headwater_project.errors("{self.name}") == []
    assert len(headwater_project.events("{self.sink}")) == 1
'''

    def _runbook(self) -> str:
        name, source, sink = self.name, self.source, self.sink
        state = "It keeps no state: it can be run again over the past at any time."
        if self.key:
            state = f"It keeps a count for each `{self.key}`; `headwater job show {name}` prints how many there are."
        return f"""# {name}

Reads `{source}`, writes `{sink}`. The code is `jobs/{name}.py`, its tests are `tests/test_{name}.py`.

{state}

## Is it well?

- `headwater job show {name}`: the lag should be near 0, and the error stream should not grow.
- The page of the platform shows the same, and `/readyz` reports a job that fails.

## Events failed

`headwater log read {name}.error` prints them, each with the exception, its place in the code and the event.
Repair the job, add a test with such an event, and restart the server.

## Run it over the past

```sh
headwater job run {name} --from events.jsonl.gz --to output.jsonl --errors errors.jsonl
```
"""


def _python(value: Mapping[str, Any]) -> str:
    """A JSON value as Python source, a field per line at the top."""
    lines = [f"    {json.dumps(name, ensure_ascii=False)}: {_literal(part)}," for name, part in value.items()]
    return "\n".join(["{", *lines, "}"])


def _literal(value: Any) -> str:
    match value:
        case dict():
            pairs = (f"{_literal(str(name))}: {_literal(part)}" for name, part in value.items())
            return f"{{{', '.join(pairs)}}}"
        case list():
            return f"[{', '.join(map(_literal, value))}]"
        case str():
            return json.dumps(value, ensure_ascii=False)
        case _:
            return repr(value)
