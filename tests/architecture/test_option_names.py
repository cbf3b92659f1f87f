"""Options that mean the same have the same name in every verb; old names are taken, and shown nowhere."""

from __future__ import annotations

from collections.abc import Iterator

import click
from click.testing import CliRunner

from headwater.cli.main import main
from headwater.cli.options import RenamedOption

# Every option a person can see: its long name → what it means. What several verbs have means the same in all
# of them.
MEANINGS = {
    "--after": "the resume token to start after",
    "--allow-repeats": "do it although rows are there twice afterwards",
    "--again": "begin at the first line although the file was loaded before",
    "--all": "the whole stack",
    "--all-nullable": "no column is required",
    "--alter-from": "the version a table has now",
    "--as": "ask the rules of another tool",
    "--baseline": "the file of known findings",
    "--batch": "how many events go together",
    "--behind": "only uses of fragments that are not the latest",
    "--by": "when an hour counts as complete",
    "--changed-since": "the git revision to compare with",
    "--check": "write nothing, fail where something would be written",
    "--comments": "descriptions as comments",
    "--condition": "only streams in this condition",
    "--content-model": "whether unknown fields count",
    "--content-type": "JSON or YAML text",
    "--count": "how many to print",
    "--dates-as-text": "times as text",
    "--days": "for how long a key is good",
    "--debug": "show tracebacks",
    "--description": "what a new schema describes",
    "--differing": "only what differs",
    "--drain": "let timers fire and windows close",
    "--draft": "the dialect where a file names none",
    "--dry-run": "write nothing, print what would be written",
    "--environment": "the file of an environment to deploy to",
    "--errors": "the file for error events",
    "--events": "how many events to make",
    "--expired": "copy what has expired too",
    "--fail-on-errors": "exit with 1 if there are error events",
    "--field": "a field of a new schema",
    "--file": "the file of a query",
    "--file-extension": "what is appended to schema URIs",
    "--filter": "only events that match",
    "--flink": "the address of a Flink cluster",
    "--force": "go on although something is wrong",
    "--format": "how to print, where there is more than text and JSON",
    "--from": "the input of a run over history",
    "--guarantee": "how often a result may be written",
    "--from-savepoint": "the state that a job starts from",
    "--group": "only these consumer groups",
    "--hand-over": "let the server continue where the run ends",
    "--help": "help",
    "--host": "the address to listen on",
    "--hour": "which hour",
    "--in": "only in these schemas",
    "--include": "the fragment a new schema includes",
    "--jobs": "which jobs a process runs",
    "--json": "print JSON",
    "--json-columns": "nested values as one JSON column",
    "--kind": "what a job or a connector is, or begins as",
    "--keep-removed": "keep columns of removed fields",
    "--key": "the field by which state is kept",
    "--key-file": "the file of an API key",
    "--late": "the file for late events",
    "--legacy": "in the form of the original's configuration",
    "--limit": "the most to process",
    "--live": "read the public stream",
    "--log": "the log, instead of a project's",
    "--major": "bump the major version",
    "--map": "the function that changes each event",
    "--materialize": "make the version file at once",
    "--memory-bytes-max": "the limit of memory, in bytes",
    "--minor": "bump the minor version",
    "--mode": "the compatibility mode",
    "--modified": "only what git sees as changed",
    "--never-idle": "timers fire by events alone",
    "--no-dedupe": "keep repeated events",
    "--no-git-add": "stage nothing",
    "--no-groups": "copy no consumer groups",
    "--no-materialize": "do not make the version file",
    "--no-validate": "do not validate the input",
    "--notes": "print notes too",
    "--offset": "the offset to start at",
    "--on": "the engine that runs a job",
    "--once": "run briefly and end",
    "--only": "only these titles",
    "--order": "the order in which input is processed",
    "--output": "the file to write instead of printing",
    "--output-dir": "the directory to write to",
    "--overrides": "the overrides instead of the streams",
    "--parallelism": "in how many parts a job runs",
    "--partition": "only this partition",
    "--patch": "bump the patch version",
    "--patience": "how long to wait for a busy server, in seconds",
    "--pin": "keep a copy for references only",
    "--port": "the port to listen on",
    "--prefix": "what titles or keys begin with",
    "--private": "private streams too",
    "--production": "ask also what production needs",
    "--project": "the project directory",
    "--public": "only what everybody may know",
    "--python": "where Python runs",
    "--rate": "how many events a second",
    "--realm": "the realm of a site",
    "--reconcile": "compare what was accepted, stored and delivered",
    "--refused": "the file for refused lines",
    "--replaces": "the base URI a pinned copy stands for",
    "--report": "a report for a pull request",
    "--repository": "a schema repository",
    "--restart": "do not resume an interrupted run",
    "--revision": "the git revision to import",
    "--rows-max": "how many rows to print",
    "--savepoint": "where the savepoint is stored",
    "--schema": "the `$schema` of an event",
    "--scope": "what a key may do",
    "--server": "the address of a running platform",
    "--set": "a setting and its value",
    "--settings": "a settings file of a schema repository",
    "--since": "the time to start at",
    "--sink": "the stream that a job writes",
    "--site": "the site whose overrides count",
    "--skip": "how many lines to leave out",
    "--source": "the stream that a job reads",
    "--spool-bytes-max": "the limit of temporary files, in bytes",
    "--staged": "only what is staged in git",
    "--state": "the directory of a job's state: of an unfinished run, or exported",
    "--state-path": "where jobs keep their state",
    "--stdout": "print instead of writing",
    "--stream": "the `meta.stream` of an event",
    "--streams": "stream files, instead of a project's",
    "--strict": "fail on warnings too",
    "--suggest": "print what would be right, change nothing",
    "--table": "the name of a table",
    "--tables": "list what a query can name",
    "--timestamp-field": "the field with the time of a record",
    "--to": "what something becomes: a version, a target system, a file of results",
    "--topic": "only these topics",
    "--until": "the time to end at",
    "--until-end": "end with what is there now",
    "--untyped": "find types in the events, not in the schemas",
    "--update-baseline": "write the baseline anew",
    "--url": "how clients reach the platform",
    "--verdicts": "what a difference means for data",
    "--version": "a version",
    "--wait": "how long to wait for an answer, in seconds",
    "--where": "only what has these fields",
    "--widen": "make columns wider",
    "--wikimedia": "the use cases of Wikimedia",
    "--workers": "how many processes",
    "--write": "also write something, and delete it again",
    "--yes": "do not ask",
}
# The verbs of jsonschema-tools keep the names they have there.
COMPATIBLE = ("headwater schema legacy",)
OLD_NAMES = {
    "headwater demo": {"--dir": "--project"},
    "headwater log read": {"--at": "--since"},
    "headwater log tail": {"--at": "--since"},
    "headwater produce": {"--to": "--server"},
    "headwater replay": {"--to": "--server"},
    "headwater codegen python": {"--schemas": "--repository"},
    "headwater schema types": {"--schemas": "--repository"},
    "headwater schema validate": {"--schemas": "--repository"},
    "headwater sinks backfill": {"--to": "--until"},
    "headwater sinks rewind": {"--to": "--since"},
    "headwater streams export": {"--into": "--output-dir"},
    "headwater streams import": {"--into": "--output-dir"},
    "headwater tail": {"--from": "--server"},
}


def contexts(context: click.Context) -> Iterator[click.Context]:
    yield context
    if isinstance(context.command, click.Group):
        for name in context.command.list_commands(context):
            found = context.command.get_command(context, name)
            assert found is not None
            # With its parent, whose settings it has: click keeps the help option it makes first.
            yield from contexts(click.Context(found, parent=context, info_name=name))


def options() -> Iterator[tuple[str, click.Option]]:
    for context in contexts(click.Context(main, info_name="headwater", **main.context_settings)):
        path = context.command_path
        if not path.startswith(COMPATIBLE):
            parameters = context.command.get_params(context)
            yield from ((path, one) for one in parameters if isinstance(one, click.Option))


def shown_names(option: click.Option) -> set[str]:
    old = option.old_names if isinstance(option, RenamedOption) else ()
    return set() if option.hidden else {name for name in option.opts if name.startswith("--") and name not in old}


def test_every_option_that_is_shown_has_a_meaning_and_every_meaning_one_name() -> None:
    shown = {name for _, option in options() for name in shown_names(option)}
    unknown = {(path, name) for path, option in options() for name in shown_names(option) if name not in MEANINGS}
    assert unknown == set(), "look whether there is a name for what it means, else add it to MEANINGS"
    assert set(MEANINGS) - shown == set(), "no verb has these options any more"
    assert len(set(MEANINGS.values())) == len(MEANINGS)


def test_options_with_one_short_name_have_one_long_name() -> None:
    long_names: dict[str, set[str]] = {}
    for _, option in options():
        for short in (name for name in option.opts if not name.startswith("--")):
            long_names.setdefault(short, set()).update(shown_names(option))
    assert {short: names for short, names in long_names.items() if len(names) > 1} == {}


def test_old_names_are_taken_and_not_shown() -> None:
    found: dict[str, dict[str, str]] = {}
    for path, option in options():
        if isinstance(option, RenamedOption) and option.old_names:
            (name,) = shown_names(option)
            found.setdefault(path, {}).update(dict.fromkeys(option.old_names, name))
    assert found == OLD_NAMES
    for path, names in OLD_NAMES.items():
        help_text = CliRunner().invoke(main, [*path.split()[1:], "--help"]).output
        for old, new in names.items():
            assert new in help_text
            assert f"{old} " not in help_text
