"""Write the reference pages that are generated from the code: errors, settings, verbs, checks, recorded answers.

`python docs/generate.py` writes them; `--check` writes nothing and fails where a page on disk is out of date. The test
tests/docs/test_reference.py calls `pages()` for the same comparison.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import sys
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from headwater import config, errors
from headwater.checking import QUESTIONS
from headwater.checking.production import REQUIREMENTS, STATEMENTS_FILE, Statements
from headwater.checking.questions import READING
from headwater.cli.connectors.facts import example_of, features_in_words
from headwater.cli.main import VERBS, main
from headwater.connectors.registry import SINKS, SOURCES, SUFFIXES, sink_spec, source_spec
from headwater.deploy.environment import ENVIRONMENT_FILE, Environment
from headwater.errors import HeadwaterError
from headwater.jobs.sink_delivery import BatchOptions, DeliveryOptions
from headwater.jobs.sinks import CONNECTOR, EventOptions, TableOptions
from headwater.options import fields_of, in_words, inner_section, is_required
from headwater.processing.source_files import SourceOptions
from headwater.served_tables.declared import ServedOptions
from headwater.web import problems

# The rules are those of the tests, the other two modules are of these pages; they are not part of the package.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parent))
import licences
import use_case_graphs

from deviations import eventgate, eventgate_kafka, eventstreams

REFERENCE = Path(__file__).resolve().parent / "reference"
NOTICE = "<!-- Written by docs/generate.py: change the code it describes, then run `make docs`. -->\n"

CHECKS_BEFORE = """\
`headwater check` reads a project and runs these checks, without starting anything. `headwater up` (also with
`--workers`) and `headwater demo` run the same checks first: an error stops them. With `--force` they print the
errors and start anyway: files that cannot be read are ignored, and the affected parts will fail. Warnings are counted
in one line.

Each finding has the id of its rule, the file and the line, and usually a hint. The ids are stable. `--json` prints one
object per line: `message`, `file`, `line`, `hint`, `rule`, `severity`. The exit code is 1 if there are errors. A file
that cannot be read is one finding: the rest of the project is still checked.

What depends on the machine of the server is not checked, since a check also runs elsewhere: whether a port is free,
brokers answer, an environment variable is set. `headwater up` reports these when it starts.
"""
SERVED_BEGIN, SERVED_END = "<!-- options: written by docs/generate.py -->\n", "<!-- end of options -->\n"
DIFFERENCES_BEFORE = """\
What EventGate and EventStreams answered was recorded from the real services and is replayed against a running
platform. Every deliberate difference is listed here once, as a rule: when it applies, what the original does, what
Headwater does, and why. The tests compare every record by these rules: a difference without a rule fails, as does a
response that a rule does not describe, and a rule that applies although nothing differs any more.
"""
EVENTGATE_BEFORE = (
    "The first rule that applies to a request describes how its response differs; the rest of it must be as recorded."
)
KAFKA_BEFORE = """\
Recorded from EventGate with its Kafka producers (the Wikimedia factory of 2019, and the default factory), replayed
with `log: kafka://…` on a broker, which is killed before the last records. Repeated ids are not recognised in the
replay (`dedupe_window_seconds: 0`), since every recorded event has the same one.

The content of each topic is compared, too: keys, values, and the source of a record's timestamp. Partitions are not,
since records without a key go to any of them; of error events, only the fields that all versions have are. Three rules
apply to messages:

- A record's timestamp is the time of receipt, from which a broker counts retention: with the event time, an old
  accepted event would be deleted immediately.
- There is an error event for every refusal, not only for violations of a schema, and it needs no configuration; an
  invalid error event does not create another one.
- Events that are refused here (a day that does not exist, an invalid topic name) are in no topic."""
EVENTSTREAMS_BEFORE = """\
All rules that apply to a request count. Neither service guarantees an order of events between partitions, so it is not
compared."""
GRAPHS_BEFORE = """\
[Use cases](use-cases.md) says what these jobs are for. A frame is a job, with its steps from top to bottom; round are
streams, cylinders are tables, and dashed arrows lead to events that are late or have failed, or come from a table in
which a job looks something up. `headwater job show NAME --project wikimedia` prints what each step is;
`--output NAME.mmd` writes one job in the same language, Mermaid, and `--output NAME.svg` as a picture.
"""
PRODUCTION_BEFORE = """\
`headwater check --production` asks these as well ([how to meet them](../how-to/path-to-production.md)). Errors make the
exit code 1; warnings do not. Each finding has the reason, with `--json` as `why`.
"""
STATEMENTS_BEFORE = """\
What no program can see is stated in this file of the project; one that cannot be read is `production-file-invalid`. A
day is written as `2026-01-31`, and counts for 365 days.
"""
LICENCES_BEFORE = """\
Headwater is under the Apache License 2.0. What it depends on must be free software that those who run, change and
pass on Headwater can use under terms of their own ([why](../decisions/index.md), 63). The list is `docs/licences.toml`,
of the metadata of the packages that the constraints files name; `python docs/licences.py` renews it. A test compares
it with the constraints, the installed packages and these rules, so that a package with another licence, or with one
that is not known, cannot be added.

Servers that connectors talk to, such as Kafka, are not part of Headwater, nor are packages with connectors of others.
"""
CHECKS_AFTER = """\
## Rules of streams and schemas

The check also applies the [rules of stream files](stream-file.md#what-headwater-check-finds) and, to repositories with
their own settings, the [rules of schemas](schema-rules.md).
"""


def pages() -> dict[Path, str]:
    """Every generated page: its path and the text it should have."""
    return {
        REFERENCE / "errors.md": errors_page(),
        REFERENCE / "configuration.md": configuration_page(),
        REFERENCE / "connectors.md": connectors_page(),
        REFERENCE / "deployment.md": deployment_page(),
        REFERENCE / "cli.md": cli_page(),
        REFERENCE / "checks.md": checks_page(),
        REFERENCE / "recorded-differences.md": differences_page(),
        REFERENCE / "licences.md": licences_page(),
        REFERENCE.parent / "use-cases-graphs.md": use_case_graphs_page(),
        REFERENCE / "served-tables.md": served_tables_page(),
    }


def errors_page() -> str:
    """Each error of the family: its code, its meaning, who must act, and its HTTP status."""
    rows = [
        [
            f"`{error.code}`",
            _sentence(error),
            error.fault.value,
            "yes" if error.retriable else "no",
            str(next(problems.STATUS[kind] for kind in error.__mro__ if kind in problems.STATUS)),
        ]
        for error in sorted(_family(HeadwaterError), key=lambda error: error.code)
    ]
    return "\n".join(
        [
            "# Errors",
            NOTICE,
            "Every error that Headwater raises deliberately has a stable code. It is the `type` of a problem document",
            "on the native API, a label in the metrics, and what the command line prints. *Who acts* says who must act",
            "before a retry; *retry* whether the identical call may succeed later. The compatible intake endpoint",
            "responds with the bodies that its clients know (see [compatibility](compatibility.md)).",
            "",
            *_table(["code", "meaning", "who acts", "retry", "HTTP status"], rows),
        ]
    )


def configuration_page() -> str:
    """Each setting: its key, allowed values, default and meaning."""
    parts = [
        "# Configuration",
        NOTICE,
        "Settings are in `headwater.yaml`, in the project directory. Each can be overridden by an environment",
        "variable, `HEADWATER_<SECTION>_<KEY>`, with `_` for the dot in a key. A section with a *short form* may be",
        "written as that one value. An unknown key is an error that names the file, the line and the nearest known",
        "key.",
        "",
        "**A change of `headwater.yaml`, of stream files or of jobs needs a restart**: a running platform prints a",
        "reminder that files have changed. New versions of schemas are found without a restart, and",
        "[changes over HTTP](http-api-control.md) take effect immediately.",
        "",
    ]
    for name, section in config.SECTIONS.items():
        parts += [f"## {name}", "", _sentence(section), ""]
        if shorthand := getattr(section, "SHORTHAND", None):
            parts += [f"Short form: `{name}: …` means `{name}.{shorthand}`.", ""]
        parts += _table(["key", "value", "default", "meaning"], list(_setting_rows(section)))
    return "\n".join(parts)


def _setting_rows(section: type[Any], outer: str = "", *, only_own: bool = False) -> Iterator[list[str]]:
    """Each setting of a section: its key, its values, its default and its meaning.

    Those of the sections inside it as well, unless `only_own`.
    """
    hints = typing.get_type_hints(section)
    for field in dataclasses.fields(section):
        inner = inner_section(field)
        if inner is not None:
            yield from () if only_own else _setting_rows(inner, f"{outer}{field.name}.")
        else:
            key, default = f"`{outer}{field.name}`", f"`{_default(field)}`"
            yield [key, _kind(hints[field.name]), default, field.metadata["meaning"]]


def deployment_page() -> str:
    """Each key of the file of an environment: its values, default and meaning."""
    sections = {field.name: inner for field in dataclasses.fields(Environment) if (inner := inner_section(field))}
    parts = [
        "# Environments",
        NOTICE,
        f"The file of an environment, `{ENVIRONMENT_FILE}` of the project or what `--environment` names, says how",
        "[`headwater deploy`](../how-to/deploy-on-kubernetes.md) and `headwater job deploy` deploy a project there. It",
        "has no secrets, only names of Secrets. An unknown key is an error that names the file, the line and the",
        "nearest known key. Quantities of processors and memory are written as Kubernetes writes them.",
        "",
        *_table(["key", "value", "default", "meaning"], list(_setting_rows(Environment, only_own=True))),
    ]
    for name, section in sections.items():
        parts += ["", f"## {name}", "", _sentence(section), ""]
        parts += _table(["key", "value", "default", "meaning"], list(_setting_rows(section)))
    return "\n".join(parts)


CONNECTORS_BEFORE = """\
A connector exchanges events with another system. A sink keeps a table filled with the events of one stream; it is
configured in the [file of the stream](stream-file.md), under `sinks`:

```yaml
stream: shop.orders.v1
schema_title: shop/order
sinks:
  - {connector: duckdb, path: var/orders.duckdb, key: id}
```

Where `columns` is left out, they follow from the newest version of the stream's schema: a single value has its type,
an object, a list or a value of any type is JSON, and so are integers of more than 64 bits. The fields of `meta` are
columns of their own, `meta_id`, `meta_dt` and so on, and `$schema` is `schema_uri`. A name consists of letters, digits
and `_`, beginning with a letter: other characters become `_`, and a `_` in front is left out. Two fields that would
be one column, also where they differ only in case, are an error: list the columns then.

```yaml
stream: shop.orders.v1
schema_title: shop/order
sinks:
  - connector: sqlite
    path: var/orders.db
    columns: { id: text, customer: [text, customer.name], placed_at: text }
    key: id
    version: placed_at
```

[Fill a database table](../how-to/fill-a-table.md) describes it step by step. Each sink is a job without steps, named
`sink.<table>`: it resumes, retries and reports errors as [jobs](jobs.md#what-is-guaranteed) do. Canaries are not
written.

A secret option takes a reference, `${env:NAME}` or `${file:PATH}`, which is resolved when the server starts; a relative
path is relative to the project. One that is a mapping, such as `secret_headers` or `catalog_secrets`, takes a reference
for each of its values. The value appears in no log, no error and no plan.

A table that a job declares with [`table()`](jobs.md) is kept in the file that `jobs.tables_path` names, whose suffix
selects the sink: SUFFIXES.

`headwater connectors list` prints all sinks and sources, with those of installed packages, `headwater connectors show
NAME` the options of one, and `headwater connectors new` creates a package with one of your own. A connector is one
module with a `SPEC`, which states its features and options; a package adds one with an entry point of the group
`headwater.sinks`. [Write a connector](../how-to/write-a-connector.md) describes how.

## When the columns change

A new version of the schema, or a change of the stream file, may want other columns than the table has. They are
compared when the sink starts, and when the first event of a newer version comes. What happens then is the `contract`
of the sink:

| `contract` | a new column | a wider type (integer to real) | another type |
| --- | --- | --- | --- |
| `evolve` | is added; older rows have no value | is altered, if that changes no value | freezes the sink |
| `freeze` | freezes the sink | freezes the sink | freezes the sink |
| `discard_row` | events with a value for it are left out | events whose value does not fit are left out | the same |
| `discard_value` | its values are left out | values that do not fit are left out | the same |

A field that is no longer in the schema keeps its column; new rows have no value there. A column that can hold the new
values stays as it is: JSON holds all, text holds times. SQLite and DuckDB have one type for text and JSON: there a
column is text, and stays so, where it has values that are no JSON.

A *frozen* sink writes nothing, and nothing is lost: its events stay in the log, and its position where it is. Other
sinks continue. `/readyz`, the console, the page `/monitoring` and `headwater_sink_frozen` show it, with the reason and
what to do. It compares again every few seconds, and continues by itself once the schema, the table or the
configuration has been repaired, or, with `freeze`, once `headwater apply` has changed the table.
`headwater_sink_discarded_total` counts the rows and values that are left out.

`headwater plan` shows each table, what there is to be created or altered, and the statements; a target that does not
answer is shown as such, and the exit code is 3 then, whatever else has to change. `headwater apply` makes the changes,
and so does the server when the sink starts. Targets that do not answer are left as they are, all others are made, and
the exit code is 3.
"""


SOURCES_BEFORE = """\
## Sources

A file `sources/NAME.yaml` makes the platform read events from another system; `headwater sources test NAME` tries it.
[Read events from other systems](../how-to/read-other-systems.md) describes it step by step.

A source that takes what is posted to it (`webhook`) is no job: its requests are answered as those of `POST /v1/events`
are, whether or not any job runs, and what is refused is an error event of the intake. Everything else about events,
schemas and streams holds for it, too.

Each other source is a job `source.NAME` without steps, which runs in one process at a time. It is paused, resumed and
reset as [jobs](jobs.md#what-is-guaranteed) are, its errors are found by `headwater errors list source.NAME`, and
`/readyz` and the metrics have it as a job. What it brings passes the same gate as the events of producers:

- An event gets the `meta.stream` that it is for, a `$schema` and a `meta.id` if it has none, and `meta.dt` as usual.
  The id is derived from the source and from the place of the event: it is the same whenever it is read again.
- It is validated. What is refused, and what is no JSON object, becomes an error event with the reason and the original
  bytes, and can be [redriven](../how-to/redrive-failed-events.md) when the cause is repaired.
- A stream that accepts no events from outside (of a job, of errors, or with `producers: {external: false}`) accepts
  none from a source. A source does not close its stream to producers.
- Events and the position in the upstream are committed together: each event is in the log exactly once, wherever a
  process is killed. Only then it is confirmed to the upstream, which may delete them.

An upstream that does not answer is asked again after longer and longer pauses, up to a minute, or as long as it asks
for; the reason is shown meanwhile. Where the upstream no longer has the position, the source stops and says so:
nothing is left out silently. `headwater sources reset` lets it begin again.

| metric, with the label `job` | what |
| --- | --- |
| `headwater_job_events_total` | events, by `what`: `read` (delivered), `written`, `errors` (refused), `skipped` |
| `headwater_job_lag_events` | events that were not delivered yet, if `headwater_source_lag_known` is 1 |
| `headwater_source_events_total` | events that the connector has delivered |
| `headwater_source_seconds_since_event` | seconds since the last event: an idle source is seen here |
| `headwater_source_waiting_seconds` | for how long the upstream has not answered; 0 if it does |
| `headwater_source_values_withheld` | values and rows that were left out since no rule shows them, since the start |
| `headwater_job_in_trouble`, `headwater_job_stopped` | whether it fails, or is stopped |

`headwater sources list --server URL`, `GET /v1/jobs` and the page `/monitoring` show the same, with the reasons why
events were refused and the columns that were withheld. A `webhook` has, for each worker,
`headwater_webhook_requests_total` by `source` and `outcome` (`stored`, `refused`, `unsigned`, `failed`), and
`headwater_webhook_seconds_since_events`.

Where a source begins that has no position yet is the option `start` of its connector, if there is a choice. It is
committed before the first event, so that `newest` means the same after a restart. `headwater log copy` carries
positions to another log.

A source is one module with a `SPEC`. A package adds one with an entry point of the group `headwater.sources`; it
passes the suite `headwater.testing.suites.source`. `headwater connectors new NAME --kind source`
[creates such a package](../how-to/write-a-connector.md).
"""


def connectors_page() -> str:
    """How sinks are configured, and each of them: what it is for, what it can do, and its options."""
    suffixes = ", ".join(f"`{suffix}` for {name}" for suffix, name in SUFFIXES.items())
    parts = [
        "# Connectors",
        NOTICE,
        CONNECTORS_BEFORE.replace("SUFFIXES", suffixes),
        "## Options of every sink of a table",
        "",
        *_table(
            ["option", "value", "default", "meaning"],
            [
                [f"`{CONNECTOR}`", "text", "required", f"Its name: {', '.join(f'`{name}`' for name in SINKS)}."],
                *_option_rows(TableOptions),
            ],
        ),
        "## Options of every sink of events",
        "",
        "A sink that is given whole events, instead of rows of a table, takes these instead:",
        "",
        *_table(["option", "value", "default", "meaning"], _option_rows(EventOptions)),
        "## Delivery",
        "",
        "Every sink takes these, too:",
        "",
        *_table(["option", "value", "default", "meaning"], _option_rows(DeliveryOptions)),
        "In `batch`:",
        "",
        *_table(["option", "value", "default", "meaning"], _option_rows(BatchOptions)),
        "## Sinks",
        "",
    ]
    for name in SINKS:
        spec = sink_spec(name)
        parts += [f"### {name}", "", spec.summary, ""]
        parts += [f"Needs `headwater[{spec.extra}]`.", ""] if spec.extra else []
        parts += [f"{_begun('; '.join(features_in_words(spec)))}.", ""]
        parts += [f"Such as `{example_of(spec).splitlines()[1].strip().removeprefix('- ')}`.", ""]
        parts += _table(["option", "value", "default", "meaning"], _option_rows(spec.options))
    return "\n".join([*parts, *_sources()])


def _sources() -> Iterator[str]:
    """How sources are configured, and each of them."""
    yield from (SOURCES_BEFORE, "### Options of every source", "")
    yield from _table(["option", "value", "default", "meaning"], _option_rows(SourceOptions))
    for name in SOURCES:
        spec = source_spec(name)
        can = features_in_words(spec)
        yield from (f"### The source {name}", "", spec.summary, "")
        yield from ((f"Needs `headwater[{spec.extra}]`.", "") if spec.extra else ())
        yield from ((f"{_begun('; '.join(can))}.", "") if can else ())
        yield from (("```yaml fragment", spec.example.rstrip(), "```", "") if spec.example else ())
        yield from _table(["option", "value", "default", "meaning"], _option_rows(spec.options))


def served_tables_page() -> str:
    """The page of served tables as it is, with the options of their files between two marks."""
    before, _, rest = (REFERENCE / "served-tables.md").read_text(encoding="utf-8").partition(SERVED_BEGIN)
    after = rest.partition(SERVED_END)[2]
    table = _table(["option", "value", "default", "meaning"], _option_rows(ServedOptions))
    return "\n".join([f"{before}{SERVED_BEGIN}", *table, f"{SERVED_END}{after}"])


def _begun(text: str) -> str:
    """The text with a capital letter; names in it stay as they are."""
    return text[:1].upper() + text[1:]


def _option_rows(options: type[Any]) -> list[list[str]]:
    """Each option of a section: its name, its values, its default and its meaning."""
    hints = typing.get_type_hints(options)
    return [
        [f"`{one.name}`", _kind(hints[one.name]), _shown_default(one), _meaning(one)]
        for one in dataclasses.fields(options)
    ]


def _meaning(option: dataclasses.Field[Any]) -> str:
    text: str = option.metadata["meaning"]
    return text if option.repr else f"{text} A secret: takes a reference."


def cli_page() -> str:
    """Each verb's own help text."""
    parts = [
        "# Command line",
        NOTICE,
        "This page shows the output of `headwater VERB --help`.",
        "",
        *_table(
            ["verb", "what it does"], [[f"[`{verb}`](#headwater-{verb})", line] for verb, (_, line) in VERBS.items()]
        ),
    ]
    context = click.Context(main, info_name="headwater", **main.context_settings)
    for verb in VERBS:
        command = main.get_command(context, verb) if isinstance(main, click.Group) else None
        if command is not None:
            parts += _help(command, context, verb)
    return "\n".join(parts)


def checks_page() -> str:
    """Every check: its rule, its severity, and its meaning."""
    reading = [[f"`{rule}`", "error", meaning] for rule, meaning in READING]
    asked = [[f"`{one.id}`", one.severity.value, one.meaning] for one in QUESTIONS]
    return "\n".join(
        [
            "# Checks of `headwater check`",
            NOTICE,
            CHECKS_BEFORE,
            "## Reading",
            "",
            *_table(["rule", "severity", "meaning"], reading),
            "## Checks",
            "",
            *_table(["rule", "severity", "meaning"], asked),
            CHECKS_AFTER,
            *_production(),
        ]
    )


def _production() -> Iterator[str]:
    """What `--production` asks, and what people state."""
    rows = [[f"`{one.id}`", one.severity.value, one.meaning, one.why] for one in REQUIREMENTS]
    yield from ("## The path to production", "", PRODUCTION_BEFORE)
    yield from _table(["rule", "severity", "what has to be so", "why"], rows)
    yield from (f"### {STATEMENTS_FILE}", "", STATEMENTS_BEFORE)
    stated = [[f"`{one.name}`", _kind(hint), _meaning(one)] for one, hint in fields_of(Statements).values()]
    yield from _table(["key", "value", "what is stated"], stated)


def differences_page() -> str:
    """The rules by which the tests accept differences from recorded responses."""
    parts = ["# Recorded differences", NOTICE, DIFFERENCES_BEFORE]
    for title, before, rules in (
        ("EventGate", EVENTGATE_BEFORE, eventgate.RULES),
        ("EventGate on Kafka", KAFKA_BEFORE, eventgate_kafka.RULES),
        ("EventStreams", EVENTSTREAMS_BEFORE, eventstreams.RULES),
    ):
        rows = [[one.when, one.original, one.here, one.because] for one in rules]
        parts += [f"## {title}", "", before, "", *_table(["when", "original", "here", "because"], rows)]
    headers = [[f"`{name}`", what, because] for name, (what, because) in eventstreams.HEADERS.items()]
    parts += ["Headers that differ in every response that is otherwise the same:", ""]
    parts += [*_table(["header", "differs in", "because"], headers)]
    return "\n".join(parts)


def licences_page() -> str:
    """Which licences dependencies may have, and which they have."""
    return "\n".join(["# Licences of dependencies", NOTICE, LICENCES_BEFORE, *licences.page_lines(), ""])


def use_case_graphs_page() -> str:
    """A picture of the jobs of each use case."""
    return "\n".join(["# Graphs of the use cases", NOTICE, GRAPHS_BEFORE, *use_case_graphs.graph_lines()])


def _help(command: click.Command, parent: click.Context, verb: str) -> Iterator[str]:
    context = click.Context(command, info_name=verb, parent=parent, max_content_width=100, terminal_width=100)
    # Click keeps the first help option it makes, which has other names where a verb was called without its group.
    command._help_option = None
    yield from (f"## {context.command_path}", "", "```text", command.get_help(context), "```", "")
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            if inner is not None:
                yield from _help(inner, context, name)


def _family(error: type[HeadwaterError]) -> set[type[HeadwaterError]]:
    """`error` and all its subclasses in headwater.errors."""
    children = [child for child in error.__subclasses__() if child.__module__.startswith(f"{errors.__name__}.")]
    return {error}.union(*map(_family, children))


def _sentence(thing: Any) -> str:
    """The first paragraph of a docstring, on one line."""
    if thing is HeadwaterError:
        return "An unexpected error; the details are in the log of the server."
    return " ".join((inspect.getdoc(thing) or "").split("\n\n", 1)[0].split())


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [*("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines), ""]


def _shown_default(field: dataclasses.Field[Any]) -> str:
    return "required" if is_required(field) else f"`{_default(field)}`"


def _default(field: dataclasses.Field[Any]) -> str:
    made = field.default_factory
    value = field.default if made is dataclasses.MISSING else made()
    return json.dumps(value, ensure_ascii=False)


def _kind(hint: Any) -> str:
    """A type hint in words."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if isinstance(hint, types.UnionType):
        return " or ".join(_kind(option) for option in arguments)
    if origin is typing.Literal:
        return " or ".join(f"`{choice}`" for choice in arguments)
    if origin is tuple:
        return in_words(hint).removeprefix("a ")
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "mapping"
    return {str: "text", int: "whole number", float: "number", bool: "true or false", type(None): "null"}[hint]


def run(check: bool) -> int:
    """Write every page, or with `check` only name those that differ; the exit status."""
    stale = [path for path, text in pages().items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        if not check:
            path.write_text(pages()[path], encoding="utf-8")
        print(("out of date: " if check else "written: ") + str(path.relative_to(REFERENCE.parent.parent)))
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(run("--check" in sys.argv[1:]))
