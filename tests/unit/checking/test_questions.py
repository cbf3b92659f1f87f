"""Every question that is asked of a project: one broken project for each way to break it, found at file and line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from headwater.checking import QUESTIONS, Problem, check_settings
from headwater.checking.questions import READING
from headwater.cli.init import write_project

STREAM = "stream: {name}\nschema_title: {title}\n"
JOB = """from headwater.jobs import job, table, tumbling


@job({arguments})
def copied(event, context):
    return event
"""
TABLE = "from headwater.jobs import table\n\nrows = table({arguments})\n"
READING_A_TABLE = """from headwater.jobs import job, table

@table(source="odd", key="text", version="whole")
def rows(event, context):
    return event


# Each event is made with the row of its key.
@job(source="odd", sink="made")
def reads(event, context):
    return context.table("rows").get(event["text"])
"""
KEEPING_A_TABLE = READING_A_TABLE.partition("# Each event")[0]
VALUE = """title: odd/value
$id: /odd/value/{version}
$schema: http://json-schema.org/draft-07/schema#
type: object
required: [$schema, meta, dt]
properties:
  $schema: {{type: string}}
  meta: {{type: object, required: [stream], properties: {{stream: {{type: string}}, dt: {{type: string}}}}}}
  dt: {{type: string, format: date-time, maxLength: 64}}
  number: {{type: number}}
  whole: {{type: integer}}
  either: {{type: [integer, string]}}
  text: {{type: string}}
  maybe: {{type: [string, "null"], format: date-time, maxLength: 64}}
  open: {{type: object}}
{more}"""


@dataclass(frozen=True)
class Broken:
    """Files laid over a new project (None: removed), and what must be found."""

    rule: str
    files: Mapping[str, str | None]
    file: str
    line: int | None
    says: str = ""


def _stream(name: str, more: str = "", title: str = "odd/value") -> dict[str, str | None]:
    return {f"streams/{name}.yaml": STREAM.format(name=name, title=title) + more}


def _value(more: str = "") -> dict[str, str | None]:
    return {
        "schemas/odd/value/1.0.0.yaml": VALUE.format(version="1.0.0", more=""),
        "schemas/odd/value/1.1.0.yaml": VALUE.format(version="1.1.0", more=more),
        "schemas/odd/value/current.yaml": VALUE.format(version="1.1.0", more=more),
    }


def _settings(text: str) -> dict[str, str | None]:
    return {"headwater.yaml": f"{text}\n"}


def _job(arguments: str) -> dict[str, str | None]:
    return {"jobs/odd.py": JOB.format(arguments=arguments)}


def _table(arguments: str) -> dict[str, str | None]:
    return {"jobs/odd.py": TABLE.format(arguments=arguments)}


def _sink(written: str) -> dict[str, str | None]:
    return {**_value(), **_stream("odd", f"sinks:\n- {written}\n")}


def _source(written: str) -> dict[str, str | None]:
    return {"sources/odd.yaml": f"connector: jsonl\npath: in.jsonl\n{written}\n"}


def _webhook(written: str) -> dict[str, str | None]:
    return {"sources/odd.yaml": f"connector: webhook\nsignature: none\n{written}\n"}


def _served(written: str, name: str = "rows") -> dict[str, str | None]:
    return {**_value(), **_stream("odd"), "jobs/odd.py": KEEPING_A_TABLE, f"served_tables/{name}.yaml": written}


def _odd_table(columns: str) -> dict[str, str | None]:
    return {**_value(), **_stream("odd"), **_table(f'"odd", source="odd", columns={columns}')}


SETTINGS = "headwater.yaml"
KEYS = "var/api-keys.json"
KEY = f'{{"name": "one", "hash": "{"a" * 64}", "scopes": [], "created": "", "expires": null}}'
BROKEN = [
    Broken("settings-invalid", {SETTINGS: "log: sqlite:///var/e.db\nshemas: s\n"}, SETTINGS, 2, "shemas"),
    Broken("stream-file-invalid", {"streams/odd.yaml": "stream: odd\nschema_titel: x\n"}, "streams/odd.yaml", 2),
    Broken("stream-file-invalid", {"streams/odd.yaml": "stream: odd\n"}, "streams/odd.yaml", 1, "schema_title"),
    Broken("stream-file-invalid", {"streams/odd.yaml": "stream: other\nschema_title: x\n"}, "streams/odd.yaml", 1),
    Broken("stream-file-invalid", {"streams/defaults.yaml": "docs: 5\n"}, "streams/defaults.yaml", 1),
    Broken("stream-file-invalid", _stream("odd", "transport: {compact: true}\n"), "streams/odd.yaml", 3),
    Broken("schema-invalid", {"plain/a/1.0.0.yaml": "type: 5\n", SETTINGS: "schemas: [schemas, plain]\n"},
           "plain/a/1.0.0.yaml", 1),
    Broken("job-file-invalid", {"jobs/odd.py": "x = 1\nimport no_such_module\n"}, "jobs/odd.py", 2),
    Broken("job-file-invalid", {"jobs/odd.py": "def f(:\n"}, "jobs/odd.py", 1),
    Broken("job-file-invalid",
           {"jobs/odd.py": JOB.format(arguments='source="demo.edit", timeout=0').replace("def", "async def")},
           "jobs/odd.py", 4, "timeout"),
    Broken("job-settings-invalid", {SETTINGS: "jobs:\n  settings:\n    page_edit: {}\n"}, SETTINGS, 3,
           "no job page_edit"),
    Broken("job-settings-invalid", {SETTINGS: "jobs:\n  settings:\n    page_edits:\n      limit: 3\n"}, SETTINGS, 4,
           "no setting limit"),
    Broken("job-file-invalid",
           {"jobs/odd.py": JOB.format(arguments='source="demo.edit"').replace("event, context", "event")},
           "jobs/odd.py", 4, "a function (event, context)"),
    Broken("job-file-invalid", _job('source="demo.edit", where=lambda: True'), "jobs/odd.py", 4, "`where`"),
    Broken("job-file-invalid", _job('source="demo.edit", key=lambda a, b: 1, state=int'), "jobs/odd.py", 4, "key"),
    Broken("job-file-invalid", _job('source="demo.edit", key="wiki", state=5'), "jobs/odd.py", 4, "`state`"),
    Broken("job-file-invalid",
           _job('source="demo.edit", key="wiki", window=tumbling("1m").count("n", where=1)'),
           "jobs/odd.py", 4, "where"),
    Broken("sink-invalid", _sink("{connector: sqlit}"), "streams/odd.yaml", 4, "sqlite"),
    Broken("sink-invalid", _sink("{connector: sqlite, pth: x.db}"), "streams/odd.yaml", 4, "path"),
    Broken("sink-invalid", _sink("{connector: sqlite, path: x.db, columns: {text: txt}}"), "streams/odd.yaml", 4,
           "text"),
    Broken("sink-invalid", _sink("{connector: sqlite, path: x.db, columns: {text: text}, table: most_edited_pages}"),
           "streams/odd.yaml", 4, "is filled by another job"),
    Broken("source-invalid", {"sources/odd.yaml": "connector: jsonlines\n"}, "sources/odd.yaml", 1, "Did you mean"),
    Broken("source-invalid", {"sources/odd.yaml": "stream: demo.edit\n"}, "sources/odd.yaml", 1, "connector"),
    Broken("source-invalid", {"sources/odd.yaml": "stream: demo.edit\nconnector: jsonl\npth: x\n"},
           "sources/odd.yaml", 3, "path"),
    Broken("source-invalid", {"sources/odd.yaml": "connector: webhook\nstream: demo.edit\n"}, "sources/odd.yaml", 1,
           "secret"),
    Broken("source-invalid", _webhook("stream: demo.edit\non_error: stop"), "sources/odd.yaml", 4, "on_error"),
    Broken("source-stream-closed", _source("stream: demo.page_edits"), "sources/odd.yaml", 1, "page_edits"),
    Broken("source-stream-closed", _webhook("stream: demo.page_edits"), "sources/odd.yaml", 1, "page_edits"),
    Broken("source-schema-unknown", _webhook("stream: demo.edit\nschema: /demo/edit/9.0.0"), "sources/odd.yaml", 1),
    Broken("job-stream-undeclared", _webhook("stream: demo.edti"), "sources/odd.yaml", 1, "demo.edti"),
    Broken("source-schema-unknown", _source("stream: demo.edit\nschema: /demo/edit/9.0.0"), "sources/odd.yaml", 1),
    Broken("source-schema-unknown", _source("stream: demo.edit\nschema: /demo/page_edits/1.0.0"),
           "sources/odd.yaml", 1, "title"),
    Broken("table-column-undeclared", _sink("{connector: sqlite, path: x.db, columns: {tixt: text}}"),
           "streams/odd.yaml", 4, "text"),
    Broken("table-column-type", _sink("{connector: sqlite, path: x.db, columns: {whole: text}}"),
           "streams/odd.yaml", 4, "integer"),
    Broken("sink-path-undeclared", _sink("{connector: jsonl, location: var/files, key: tixt}"),
           "streams/odd.yaml", 4, "text"),
    Broken("sink-file-impossible", _sink(f"{{connector: sqlite, path: {'x' * 300}, columns: {{text: text}}}}"),
           "streams/odd.yaml", 4, "name too long"),
    Broken("sink-path-undeclared", _sink("{connector: http, url: 'http://localhost/{tixt}'}"), "streams/odd.yaml", 4,
           "text"),
    Broken("sink-path-undeclared", _sink("{connector: http, url: 'http://localhost/', headers: {a: '{tixt}'}}"),
           "streams/odd.yaml", 4, "tixt"),
    Broken("sink-path-undeclared", _sink("{connector: http, url: 'http://localhost/', body: {a: [{b: '{tixt}'}]}}"),
           "streams/odd.yaml", 4, "tixt"),
    Broken("sink-path-undeclared", _sink("{connector: http, url: 'http://localhost/', key: tixt}"),
           "streams/odd.yaml", 4, "its key"),
    Broken("sink-path-undeclared", _sink("{connector: http, url: 'http://localhost/', key: text, version: tixt}"),
           "streams/odd.yaml", 4, "its version is"),
    Broken("sink-path-undeclared", _sink("{connector: jsonl, location: var/x, partition: hour, time: meta.td}"),
           "streams/odd.yaml", 4, "meta.td"),
    Broken("sink-path-undeclared",
           _sink("{connector: sqlite, path: x.db, columns: {text: text}, key: text, delete_when: {kid: gone}}"),
           "streams/odd.yaml", 4, "delete_when"),
    Broken("sink-deletes-nothing", {
        **_value("  flag: {type: boolean}\n"),
        **_stream("odd", "sinks:\n- {connector: sqlite, path: x.db, columns: {text: text}, key: text,"
                  " delete_when: {flag: yes}}\n"),
    }, "streams/odd.yaml", 4, "boolean"),
    Broken("sink-deletes-nothing",
           _sink("{connector: sqlite, path: x.db, columns: {text: text}, key: text, delete_when: {text: [gone, 1]}}"),
           "streams/odd.yaml", 4, "text is 1"),
    Broken("source-field-undeclared", {
        "sources/odd.yaml": "connector: postgres_cdc\nurl: ${env:SHOP}\ntables:\n"
        "  public.edits:\n    stream: demo.edit\n    fields: {wkii: wiki}\n"}, "sources/odd.yaml", 1, "wiki"),
    Broken("source-stream-closed", _source("stream: page_edits.error"), "sources/odd.yaml", 1, "error events"),
    Broken("sink-file-impossible", _sink("{connector: sqlite, path: streams, columns: {text: text}}"),
           "streams/odd.yaml", 4, "directory"),
    Broken("sink-file-impossible", _sink("{connector: sqlite, path: README.md/x.db, columns: {text: text}}"),
           "streams/odd.yaml", 4, "README.md"),
    Broken("sink-file-collides", _sink("{connector: sqlite, path: var/../var/Events.db, columns: {text: text}}"),
           "streams/odd.yaml", 4, "log.url"),
    Broken("sink-file-collides", _sink("{connector: sqlite, path: var/api-keys.json, columns: {text: text}}"),
           "streams/odd.yaml", 4, "control.api_keys_path"),
    Broken("sink-file-collides", _sink("{connector: duckdb, path: var/tables.db, columns: {text: text}}"),
           "streams/odd.yaml", 4, "sqlite"),
    Broken("directory-missing", {SETTINGS: "schemas: shemas\n"}, SETTINGS, 1, "shemas"),
    Broken("directory-missing", {SETTINGS: "schemas:\n  base_uris: [schemas, shemas]\n"}, SETTINGS, 2, "shemas"),
    Broken("directory-missing", {SETTINGS: "streams: steams\n"}, SETTINGS, 1, "steams"),
    Broken("directory-missing", {SETTINGS: "jobs: {path: job}\n"}, SETTINGS, 1, "job"),
    Broken("directory-missing", {SETTINGS: "schemas: README.md\n"}, SETTINGS, 1, "is not a directory"),
    Broken("log-impossible", {SETTINGS: "log: 'kafka://'\n"}, SETTINGS, 1, "brokers"),
    Broken("log-impossible", {SETTINGS: "log: kafka://:9092\n"}, SETTINGS, 1, "brokers"),
    Broken("log-impossible", {SETTINGS: "log: kafka://host:99999\n"}, SETTINGS, 1, "brokers"),
    Broken("log-impossible", {SETTINGS: "log: {url: 'kafka://host/a b'}\n"}, SETTINGS, 1, "names of topics"),
    Broken("log-impossible", {SETTINGS: "log: 'sqlite:///'\n"}, SETTINGS, 1, "not name a file"),
    Broken("log-impossible", {SETTINGS: "log: sqlite:///streams\n"}, SETTINGS, 1, "not name a file"),
    Broken("kafka-option-refused", {SETTINGS: "log:\n  url: kafka://h\n  kafka: {security.protocl: x}\n"}, SETTINGS, 3),
    Broken("kafka-option-refused", {SETTINGS: "log:\n  url: kafka://h\n  kafka: {acks: 1}\n"}, SETTINGS, 3, "acks"),
    Broken("canary-keys-refused", {SETTINGS: "monitoring:\n  canary_keys: {here: '${env:A}'}\n"}, SETTINGS, 2, "here"),
    Broken("canary-keys-refused", {SETTINGS: "monitoring: {canary_keys: {http://a: x}}\n"}, SETTINGS, 1, "env:NAME"),
    Broken("copies-impossible",
           {SETTINGS: "log:\n  url: kafka://h\n  replication_factor: 1\n  min_insync_replicas: 2\n"}, SETTINGS, 4),
    Broken("copies-impossible",
           {SETTINGS: "log: {url: kafka://h, min_insync_replicas: 2}\n", **_value(),
            **_stream("odd", "transport: {kafka: {replicas: 1}}\n")}, "streams/odd.yaml", 3),
    Broken("tables-impossible", {SETTINGS: "jobs: {tables_path: var/tables.csv}\n"}, SETTINGS, 1, "tables.csv"),
    Broken("tables-impossible", {SETTINGS: "jobs: {tables_path: t.db}\n", "t.db/x": ""}, SETTINGS, 1, "directory"),
    Broken("table-elsewhere",
           {SETTINGS: "log: kafka://h\njobs: {shared: true}\n", **_value(), **_stream("odd"), **_stream("made"),
            "jobs/odd.py": READING_A_TABLE}, "jobs/odd.py", 9, "reads the table rows"),
    Broken("state-impossible", {SETTINGS: "log: kafka://h\njobs: {state_path: README.md}\n"}, SETTINGS, 2),
    Broken("spool-impossible", {SETTINGS: "intake:\n  hasty_spool_path: README.md\n"}, SETTINGS, 2),
    Broken("keys-damaged", {KEYS: '[{"name":"a"'}, KEYS, 1, "not a list"),
    Broken("keys-damaged", {KEYS: "{}"}, KEYS, 1, "not a list"),
    Broken("keys-damaged", {KEYS: "\n[5]"}, KEYS, 1, "entry 1 is no object"),
    Broken("keys-damaged", {KEYS: f"[{KEY},\n{KEY}]"}, KEYS, 1, "twice"),
    Broken("keys-damaged", {KEYS: f"[\n{KEY.replace('aaaa', 'é')}]"}, KEYS, 2, "the key 'one' has a hash"),
    Broken("keys-damaged", {KEYS: f"[\n{KEY.replace('null', '5')}]"}, KEYS, 2, "expires"),
    Broken("keys-damaged", {KEYS: f"[\n{KEY.replace('null', chr(34) + 'tomorrow' + chr(34))}]"}, KEYS, 2, "tomorrow"),
    Broken("keys-damaged", {KEYS: f"[\n{KEY.replace('[]', '5')}]"}, KEYS, 2, "scopes"),
    Broken("keys-damaged", {KEYS: f"[\n{KEY.replace('scopes', 'scope')}]"}, KEYS, 2, "'scope'"),
    Broken("keys-damaged", {f"{KEYS}/directory": ""}, KEYS, None, "cannot be read"),
    Broken("files-collide", {SETTINGS: "log: sqlite:///var/x.db\njobs: {tables_path: var/x.db}\n"}, SETTINGS, 2),
    Broken("files-collide", {SETTINGS: "log: sqlite:///var/x.db\njobs: {tables_path: ./var/../var/X.db}\n"},
           SETTINGS, 2, "log.url"),
    Broken("readable-stream-unknown", {SETTINGS: "consumption: {allowed_streams: [demo.edti]}\n"}, SETTINGS, 1),
    Broken("readable-stream-unknown", {SETTINGS: "consumption:\n  stream_aliases: {a: nobody}\n"}, SETTINGS, 2),
    Broken("partitions-limit", {**_value(), **_stream("odd", "transport: {partitions: 4097}\n")},
           "streams/odd.yaml", 3, "4096"),
    Broken("partitions-limit", {**_value(), **_stream("odd", "transport:\n  kafka:\n    partitions: 100000\n")},
           "streams/odd.yaml", 5, "4096"),
    Broken("retention-limit", {**_value(), **_stream("odd", "transport: {retention: 0s}\n")}, "streams/odd.yaml", 3),
    Broken("retention-limit", {**_value(), **_stream("odd", f"transport: {{retention: {'9' * 400}w}}\n")},
           "streams/odd.yaml", 3),
    Broken("retention-limit", {**_value(), **_stream("odd", "privacy:\n  retention_override: 99999999999999w\n")},
           "streams/odd.yaml", 4),
    Broken("retention-limit", {**_value(), **_stream("odd", "transport: {retention_bytes: 9999999999999999999}\n")},
           "streams/odd.yaml", 3),
    Broken("topic-name", {**_value(), **_stream("odd", f"transport: {{topics: [{'a' * 250}]}}\n")},
           "streams/odd.yaml", 3, "250 characters"),
    Broken("topic-name", {SETTINGS: "log: kafka://h\n", **_value(), **_stream("odd", "transport: {topics: [a b]}\n")},
           "streams/odd.yaml", 3, "Kafka does not allow"),
    Broken("topic-name", {SETTINGS: f"log: kafka://h/{'n' * 90}.\n", **_value(), **_stream("o" * 170)},
           f"streams/{'o' * 170}.yaml", 1, "characters"),
    Broken("topic-name", {SETTINGS: "log: kafka://h\nintake: {service_name: a b}\n"}, SETTINGS, 2, "error stream"),
    Broken("topic-name", {SETTINGS: f"intake:\n  error_stream: {'e' * 250}\n"}, SETTINGS, 2, "250 characters"),
    Broken("topics-collide", {SETTINGS: "log: kafka://h\n", **_value(), **_stream("odd.one"), **_stream("odd_one")},
           "streams/odd_one.yaml", 1, "odd.one"),
    Broken("event-time-undeclared", {**_value(), **_stream("odd", "event_time: placed_at\n")}, "streams/odd.yaml", 3),
    Broken("event-time-undeclared", {**_value(), **_stream("odd", "event_time: meta.dtt\n")}, "streams/odd.yaml", 3),
    Broken("event-time-type", {**_value(), **_stream("odd", "event_time: whole\n")}, "streams/odd.yaml", 3, "integer"),
    Broken("event-time-type", {**_value(), **_stream("odd", "event_time: meta\n")}, "streams/odd.yaml", 3, "object"),
    Broken("event-time-format", {**_value(), **_stream("odd", "event_time: text\n")}, "streams/odd.yaml", 3),
    Broken("titles-differ-in-case",
           {"plain/A/1.0.0.yaml": "title: A\n$id: /A/1.0.0\n", "plain/a/1.0.0.yaml": "title: a\n$id: /a/1.0.0\n",
            SETTINGS: "schemas: [schemas, plain]\n"}, "plain/a/1.0.0.yaml", 1),
    Broken("error-stream-schema", {**_value(), **_stream("headwater-demo.error.validation")},
           "streams/headwater-demo.error.validation.yaml", 2),
    Broken("error-stream-schema", {**_value(), **_stream("page_edits.error")}, "streams/page_edits.error.yaml", 2),
    Broken("job-stream-undeclared", _job('source="demo.edti"'), "jobs/odd.py", 4, "demo.edti"),
    Broken("job-stream-undeclared", _job('source="demo.edit", sink="nobody"'), "jobs/odd.py", 4, "nobody"),
    Broken("job-stream-undeclared", _job('source="demo.edit", late="nobody"'), "jobs/odd.py", 4, "nobody"),
    Broken("job-stream-undeclared", _table('"rows", source="nobody", columns={"wiki": "text"}'), "jobs/odd.py", 3),
    Broken("job-output-schema", _job('source="demo.edit", sink="demo.page_edits:9.9.9"'), "jobs/odd.py", 4, "9.9.9"),
    Broken("job-file-invalid", _job('source="demo.edit", sink="demo.page_edits:1.0"'), "jobs/odd.py", 4, "1.0"),
    Broken("job-file-invalid", _job('source="demo.edit", sink="demo.page_edits:latest"'), "jobs/odd.py", 4, "latest"),
    Broken("job-file-invalid", _job('source="demo.edit", sink="demo.page_edits:../../x"'), "jobs/odd.py", 4),
    Broken("job-output-disabled",
           {**_value(), **_stream("odd", "produce: {enabled: false}\n"), **_job('source="demo.edit", sink="odd"')},
           "jobs/odd.py", 4),
    Broken("job-late-schema", {**_value(), **_stream("odd"), **_job('source="demo.edit", late="odd"')},
           "jobs/odd.py", 4, "demo/edit"),
    Broken("private-in-public",
           {**_value(), **_stream("shut", "privacy: {class: private}\n"),
            **_stream("late", "privacy: {class: public}\n"), **_job('source="shut", late="late"')},
           "streams/late.yaml", 1, "late events of the private stream"),
    Broken("private-derived",
           {**_value(), **_stream("shut", "privacy: {class: private}\n"),
            **_stream("odd", "privacy: {class: public}\n"), **_job('source="shut", sink="odd"')},
           "streams/odd.yaml", 1, "is filled from the private stream"),
    Broken("job-field-undeclared", _job('source="demo.edit", key="wikki", state=int'), "jobs/odd.py", 4, "wikki"),
    Broken("job-field-undeclared", _job('source="demo.edit", key=("wiki", "meta.dmain"), state=int'), "jobs/odd.py", 4),
    Broken("job-field-undeclared", _job('source="demo.edit", key={"demo.edit": "wikki"}, state=int'), "jobs/odd.py", 4,
           "wikki of demo.edit"),
    Broken("job-output-schema", _job('source="demo.edit", outputs="demo.page_edits:7.0.0"'), "jobs/odd.py", 4, "7.0.0"),
    Broken("job-stream-undeclared", _job('source="demo.edit", outputs="demo.page_edit:1.0.0"'), "jobs/odd.py", 4,
           "demo.page_edit"),
    Broken("job-field-undeclared", _job('source="demo.edit", key="wiki", window=tumbling("1m").sum("n", "bites")'),
           "jobs/odd.py", 4, "bites"),
    Broken("job-field-type", _job('source="demo.edit", key="wiki", window=tumbling("1m").sum("n", "title")'),
           "jobs/odd.py", 4, "title"),
    Broken("job-field-type", _job('source="demo.edit", key="wiki", window=tumbling("1m").max("n", "meta")'),
           "jobs/odd.py", 4, "object"),
    Broken("jobs-in-a-circle",
           {"jobs/odd.py": JOB.format(arguments='source="demo.page_edits", sink="demo.edit"')}, "jobs/edits.py", 31,
           "copied (jobs/odd.py:4)"),
    Broken("jobs-differ-in-case", _job('source="demo.edit", name="Page_Edits"'), "jobs/odd.py", 4, "page_edits"),
    Broken("table-column-undeclared", _odd_table('{"a": "text", "text": "text"}'), "jobs/odd.py", 3, "column a"),
    Broken("table-column-undeclared", _odd_table('{"a": ("text", "meta.streem")}'), "jobs/odd.py", 3, "meta.streem"),
    Broken("table-column-type", _odd_table('{"text": "integer"}'), "jobs/odd.py", 3, "text"),
    Broken("table-column-type", _odd_table('{"whole": "text"}'), "jobs/odd.py", 3, "whole"),
    Broken("table-column-type", _odd_table('{"number": "boolean"}'), "jobs/odd.py", 3, "number"),
    Broken("table-column-type", _odd_table('{"meta": "text"}'), "jobs/odd.py", 3, "object"),
    Broken("table-column-partly", _odd_table('{"number": "integer"}'), "jobs/odd.py", 3, "number"),
    Broken("table-column-partly", _odd_table('{"either": "text"}'), "jobs/odd.py", 3, "either"),
    Broken("tables-differ-in-case", _table('"Page_Edits", source="demo.edit", columns={"wiki": "text"}')
           | {"jobs/other.py": TABLE.format(arguments='"page_editS", source="demo.edit", columns={"wiki": "text"}')},
           "jobs/other.py", 3, "Page_Edits"),
    Broken("tables-differ-in-case", _odd_table('{"text": "text", "Text": ("text", "text")}'), "jobs/odd.py", 3),
    Broken("open-to-strangers", _settings("web: {host: 0.0.0.0}"), "headwater.yaml", 1, "demo.edit"),
    Broken("keys-missing", _settings("consumption: {keys: required}"), "headwater.yaml", 1, "events:read"),
    Broken("keys-missing", _settings("intake: {keys: required}"), "headwater.yaml", 1, "events:write"),
    Broken("place-impossible", _settings("log: sqlite:////dev/null/x.db"), "headwater.yaml", 1, "/dev/null/x.db"),
    Broken("place-impossible", _settings(f"log: sqlite:///{'n' * 300}/x.db"), "headwater.yaml", 1, "too long"),
    Broken("place-impossible", _settings("intake: {hasty_spool_path: streams/demo.edit.yaml/x}"), "headwater.yaml", 1,
           "demo.edit.yaml"),
    Broken("place-impossible", _settings("control: {api_keys_path: headwater.yaml/keys.json}"), "headwater.yaml", 1,
           "keys.json"),
    Broken("served-table-invalid", _served("summary: Rows.\n", name="nobody"), "served_tables/nobody.yaml", 1,
           "nobody"),
    Broken("served-range-type", _served("equals: [text]\nranges: [open]\n"), "served_tables/rows.yaml", 1, "open"),
    Broken("served-audit-refused", _served("equals: [text]\nroles: [one]\naudit: nobody\n"),
           "served_tables/rows.yaml", 1, "nobody"),
    Broken("table-name-reserved", _table('"sqlite_rows", source="demo.edit", columns={"wiki": "text"}'),
           "jobs/odd.py", 3, "sqlite_"),
]  # fmt: skip


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write_project(tmp_path / "mine")
    return tmp_path / "mine"


def _laid_over(project: Path, files: Mapping[str, str | None]) -> None:
    for name, text in files.items():
        path = project / name
        if text is None:
            path.unlink()
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _graver(problems: list[Problem]) -> list[Problem]:
    return [problem for problem in problems if problem.severity == "error"]


@pytest.mark.parametrize("broken", BROKEN, ids=lambda one: f"{one.rule}-{one.says or one.file}"[:60])
def test_a_broken_project_is_found_at_file_and_line(project: Path, broken: Broken) -> None:
    _laid_over(project, broken.files)
    problems = check_settings(project).problems
    found = [one for one in problems if one.rule == broken.rule and (one.file, one.line) == (broken.file, broken.line)]
    assert found, [(str(problem), problem.rule) for problem in problems]
    assert any(broken.says in f"{one.message} {one.hint}" for one in found), found
    severity = {question.id: question.severity.value for question in QUESTIONS}.get(broken.rule, "error")
    assert {one.severity for one in found} == {severity}


# These break more than themselves.
SPREADING = [one for one in BROKEN if one.rule == "schema-invalid" or one.file == "streams/defaults.yaml"]


@pytest.mark.parametrize(
    "broken",
    [one for one in BROKEN if one not in SPREADING],
    ids=lambda one: f"{one.rule}-{one.says or one.file}"[:60],
)
def test_one_fault_is_one_rule(project: Path, broken: Broken) -> None:
    _laid_over(project, broken.files)
    # What a fault in one place makes of others is not told as theirs.
    of_rules = {question.id for question in QUESTIONS} | {rule for rule, _ in READING}
    rules = {problem.rule for problem in _graver(list(check_settings(project).problems)) if problem.rule in of_rules}
    assert rules <= {broken.rule}


def test_every_question_has_a_project_that_it_finds_something_in() -> None:
    assert {broken.rule for broken in BROKEN} == {*(one.id for one in QUESTIONS), *(rule for rule, _ in READING)}


def test_rules_have_one_id_each() -> None:
    ids = [*(one.id for one in QUESTIONS), *(rule for rule, _ in READING)]
    assert len(set(ids)) == len(ids)


def test_a_new_project_has_nothing_to_find(project: Path) -> None:
    assert [str(one) for one in check_settings(project).problems if one.severity != "note"] == []


SOUND: dict[str, Mapping[str, str | None]] = {
    "a nullable date-time": {**_value(), **_stream("odd", "event_time: maybe\n")},
    "the intake's time": {**_value(), **_stream("odd", "event_time: meta.dt\n")},
    "a field that only a later version has": {
        **_value("  late_dt: {type: string, format: date-time, maxLength: 64}\n"),
        **_stream("odd", "event_time: late_dt\n"),
    },
    "4096 partitions": {**_value(), **_stream("odd", "transport: {partitions: 4096}\n")},
    "many partitions on Kafka": {
        SETTINGS: "log: kafka://h\n",
        **_value(),
        **_stream("odd", "transport: {partitions: 5000}\n"),
    },
    "columns of every kind": _odd_table(
        '{"text": "text", "whole": "integer", "number": "real", "n": ("real", "whole"), "either": "json",'
        ' "stream": ("text", "meta.stream"), "free": ("integer", "open.anything.below")}'
    ),
    "sinks of one file and of several": _sink(
        "{connector: sqlite, path: var/tables.db, columns: {text: text}}\n"
        "- {connector: duckdb, path: var/odd.duckdb, table: other, columns: {text: text, n: [integer, whole]}, key: n}"
    ),
    "no directory of jobs": {
        "jobs/edits.py": None,
    },
    "a callable object, a class, a built-in": {
        "jobs/odd.py": """import dataclasses, functools
from headwater.jobs import job, table, tumbling

class Copy:
    def __call__(self, event, context):
        return None

@dataclasses.dataclass
class Count:
    edits: int = 0

one = job(source="demo.edit", name="one")(Copy())
two = job(source="demo.edit", name="two", key="wiki", state=Count)(lambda event, context: None)
three = job(source="demo.edit", name="three", key="wiki", state=dict)(lambda *both: None)
four = job(source="demo.edit", name="four", where=bool)(functools.partial(lambda a, event, context: None, 1))
"""
    },
    "late events in the stream they came from": _job('source="demo.edit", late="odd"')
    | _stream("odd", title="demo/edit"),
}


@pytest.mark.parametrize("sound", SOUND)
def test_what_works_is_not_complained_of(project: Path, sound: str) -> None:
    _laid_over(project, SOUND[sound])
    if sound.startswith("no directory"):
        (project / "jobs").rmdir()
    of_rules = {question.id for question in QUESTIONS} | {rule for rule, _ in READING}
    assert [str(one) for one in check_settings(project).problems if one.rule in of_rules] == []


def test_broken_files_take_nothing_else_down(project: Path) -> None:
    _laid_over(
        project,
        {
            "streams/demo.edit.yaml": "stream: demo.edit\nschema_titel: x\n",
            "streams/odd.yaml": "stream: [\n",
            "jobs/odd.py": "1 / 0\n",
            "schemas/odd/1.0.0.yaml": "type: [\n",
        },
    )
    report = check_settings(project)
    assert report.project is not None
    assert report.project.streams is not None
    assert [stream.name for stream in report.project.streams.all()] == ["demo.edits_per_minute", "demo.page_edits"]
    assert {job.name for job in report.project.jobs} >= {"edits_per_minute", "page_edits"}
    files = {problem.file for problem in report.errors}
    # The jobs that read demo.edit are not told that nobody declares it: its file does, when it can be read.
    assert {"streams/demo.edit.yaml", "streams/odd.yaml", "jobs/odd.py"} <= files
    assert not {"jobs/edits.py"} & files
