"""Sinks of stream files: read with their options as jobs without steps, and refused with file and line."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from headwater.connectors.contract import Column, EventShape, SinkFeatures, TableShape
from headwater.connectors.registry import SINKS, sink_spec
from headwater.connectors.schema_columns import SchemaTypes
from headwater.connectors.sinks.sqlite import SqliteSink
from headwater.connectors.spec import SinkSpec
from headwater.errors import ConfigInvalid, ExtraMissing
from headwater.jobs.job import Job
from headwater.jobs.loader import load_jobs
from headwater.jobs.sink_delivery import DeliveryOptions
from headwater.jobs.sinks import COMMON, CONNECTOR, Known, sink_jobs
from headwater.options import fields_of
from headwater.processing.embedded.settings import RunnerSettings, settings_for
from headwater.schemas.repository import open_repositories
from headwater.settings import REQUIRED, setting
from headwater.streams.layers import Scope
from headwater.streams.registry import StreamRegistry


@dataclass(frozen=True, slots=True)
class Options:
    """What the connector of these tests takes."""

    host: str = setting(REQUIRED, "Where it is.")
    password: str | None = setting(None, "What lets it in.", secret=True)


SPEC = SinkSpec(
    name="remote",
    summary="A table for tests.",
    options=Options,
    make=lambda options, shape, directory: SqliteSink(directory / f"{options.host}-{options.password}.db", shape),
    features=SinkFeatures(token_in_target=True, upsert=True),
)


EVENTS = dataclasses.replace(
    SPEC,
    name="calls",
    form="events",
    features=SinkFeatures(token_in_target=False, upsert=False, reads_back=False, deletes=True),
)
DELETING = dataclasses.replace(SPEC, name="deleting", features=dataclasses.replace(SPEC.features, deletes=True))


def find_sink(name: str) -> SinkSpec:
    if name == "absent":
        raise ExtraMissing("The absent sink needs a driver.", hint="Install headwater[absent].")
    own = {spec.name: spec for spec in (SPEC, EVENTS, DELETING)}
    return own[name] if name in own else sink_spec(name)


def known(project: Path) -> Known:
    return Known(find_sink, SchemaTypes(lambda: open_repositories([str(project / "schemas")])), project)


def jobs_of(project: Path, files: Mapping[str, str], scope: Scope | None = None) -> list[Job]:
    for name, text in files.items():
        (project / "streams" / name).parent.mkdir(parents=True, exist_ok=True)
        (project / "streams" / name).write_text(text)
    streams = StreamRegistry.load(project / "streams", scope=scope or Scope())
    return load_jobs(project / "jobs", project, others=sink_jobs(streams, known(project)))


def stream(sinks: str, name: str = "shop.orders") -> str:
    return f"stream: {name}\nschema_title: shop/order\nsinks:\n{sinks}"


SMALL = "- {connector: sqlite, path: var/a.db, columns: {id: text}}\n"


def test_a_sink_is_a_job_without_steps(tmp_path: Path) -> None:
    text = stream(
        "- connector: sqlite\n  path: var/orders.db\n  table: orders\n  columns: {id: text, who: [text, customer.name],"
        " rev: integer}\n  key: id\n  version: rev\n  order: id desc\n"
    )
    (job,) = jobs_of(tmp_path, {"shop.orders.yaml": text})
    shape = TableShape(
        "orders",
        (Column("id", "text", "id"), Column("who", "text", "customer.name"), Column("rev", "integer", "rev")),
        ("id",),
        "id desc",
        "rev",
    )
    writes = job.writes()
    assert (job.name, job.reads(), job.steps, job.canaries) == ("sink.orders", ("shop.orders",), (), False)
    assert (writes.table, writes.errors, writes.results) == (shape, "sink.orders.error", ())
    assert str(job.place) == "streams/shop.orders.yaml:4"
    assert writes.sink is not None
    assert writes.sink.spec is sink_spec("sqlite")
    assert writes.sink.file(tmp_path) == tmp_path / "var/orders.db"
    assert writes.sink.made(shape, {}, tmp_path).shape == shape


ORDER = """
title: shop/order
$id: /shop/order/VERSION
type: object
properties:
  id: {type: string}
  amount: {type: number}
  lines: {type: array, items: {type: object, properties: {sku: {type: string}}}}
  meta: {type: object, properties: {id: {type: string}, rev: {type: integer}}}
"""


def test_columns_that_are_not_listed_follow_from_the_newest_schema(tmp_path: Path) -> None:
    schemas = {"1.0.0": ORDER, "1.1.0": f"{ORDER}  more: {{type: boolean}}\n"}
    for version, text in schemas.items():
        (tmp_path / "schemas/shop/order").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"schemas/shop/order/{version}.yaml").write_text(text.replace("VERSION", version))
    sinks = "- {connector: sqlite, path: x.db, key: [id, meta.id], version: meta.rev}\n"
    (job,) = jobs_of(tmp_path, {"shop.orders.yaml": stream(sinks)})
    writes = job.writes()
    assert writes.table is not None
    assert [(one.name, one.type, one.path) for one in writes.table.columns] == [
        ("id", "text", "id"),
        ("amount", "real", "amount"),
        ("lines", "json", "lines"),
        ("meta_id", "text", "meta.id"),
        ("meta_rev", "integer", "meta.rev"),
        ("more", "boolean", "more"),
    ]
    assert (writes.table.key, writes.table.version) == (("id", "meta_id"), "meta_rev")
    assert writes.sink is not None
    assert writes.sink.schema_title == "shop/order"


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ("schema_title: shop/order\n", "the schema shop/order gives none: There is no schema"),
        ("schema_title: clash\n", "a_b and a-b would be one column, a_b"),
        ("schema_title: clash2\n", "A would be one column, since case is ignored as a"),
    ],
)
def test_a_schema_that_gives_no_columns_is_refused_at_the_sink(tmp_path: Path, schema: str, says: str) -> None:
    for title, names in (("clash", ("a_b", "a-b")), ("clash2", ("a", "A"))):
        (tmp_path / "schemas" / title).mkdir(parents=True)
        fields = "".join(f"  {name}: {{type: string}}\n" for name in names)
        text = f"title: {title}\n$id: /{title}/1.0.0\nproperties:\n{fields}"
        (tmp_path / "schemas" / title / "1.0.0.yaml").write_text(text)
    with pytest.raises(ConfigInvalid) as caught:
        jobs_of(
            tmp_path,
            {"shop.orders.yaml": f"stream: shop.orders\n{schema}sinks:\n- {{connector: sqlite, path: x.db}}\n"},
        )
    assert says in str(caught.value)
    assert caught.value.line == 4


def test_a_sink_of_events_has_no_table(tmp_path: Path) -> None:
    sinks = "- {connector: calls, host: h, key: [meta.domain, id], version: meta.dt, delete_when: {kind: delete}}\n"
    (job,) = jobs_of(tmp_path, {"shop.orders.yaml": stream(sinks)})
    shape = EventShape("shop_orders", ("meta.domain", "id"), "meta.dt", (("kind", ("delete",)),))
    writes = job.writes()
    assert (job.name, writes.table, writes.table_name, writes.events, writes.target) == (
        "sink.shop_orders",
        None,
        None,
        shape,
        shape,
    )
    assert job.summary == "Gives events to shop_orders by the connector calls."
    (named,) = jobs_of(tmp_path, {"shop.orders.yaml": stream("- {connector: calls, host: h, name: theirs}\n")})
    assert named.writes().events == EventShape("theirs")


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("{kind: delete}", (("kind", ("delete",)),)),
        ("{kind: [delete, gone], meta.n: 7}", (("kind", ("delete", "gone")), ("meta.n", (7,)))),
        ("{gone: true, after: null}", (("gone", (True,)), ("after", (None,)))),
        ("{}", ()),
    ],
)
def test_what_deletes_is_read_as_paths_and_values(tmp_path: Path, written: str, read: object) -> None:
    sinks = f"- {{connector: deleting, host: h, columns: {{id: text}}, key: id, delete_when: {written}}}\n"
    (job,) = jobs_of(tmp_path, {"shop.orders.yaml": stream(sinks)})
    assert job.writes().table == TableShape("shop_orders", (Column("id", "text", "id"),), ("id",), delete_when=read)  # type: ignore[arg-type]


def test_the_name_of_a_table_follows_from_the_stream(tmp_path: Path) -> None:
    files = {"Shop.Orders-v1.yaml": stream(SMALL, "Shop.Orders-v1")}
    assert [job.name for job in jobs_of(tmp_path, files)] == ["sink.shop_orders_v1"]


def test_sinks_come_from_defaults_and_overrides_as_all_keys_do(tmp_path: Path) -> None:
    files = {
        "defaults.yaml": f"sinks:\n{SMALL}",
        "a.yaml": "stream: a\nschema_title: a\n",
        "families/all.yaml": "stream: /^x\\./\nschema_title: x\n",
        "b.yaml": "stream: b\nschema_title: b\nsinks: []\n",
        "c.yaml": "stream: c\nschema_title: c\noverrides:\n- when: {site: north}\n  set:\n    sinks:\n"
        "    - {connector: sqlite, path: x.db, columns: {id: txt}}\n",
    }
    assert [job.name for job in jobs_of(tmp_path, files)] == ["sink.a", "sink.c"]
    assert [str(job.place) for job in jobs_of(tmp_path, files)] == ["streams/defaults.yaml:2"] * 2
    with pytest.raises(ConfigInvalid) as caught:
        jobs_of(tmp_path, files, Scope(site="north"))
    assert (Path(caught.value.file or "").name, caught.value.line) == ("c.yaml", 7)


def test_an_error_in_one_sink_leaves_the_others(tmp_path: Path) -> None:
    refused: list[ConfigInvalid] = []
    directory = tmp_path / "streams"
    directory.mkdir()
    (directory / "a.yaml").write_text(stream(f"- {{}}\n{SMALL}- {{connector: x}}\n", "a"))
    found = list(sink_jobs(StreamRegistry.load(directory), known(tmp_path), refused.append))
    assert [job.name for job in found] == ["sink.a"]
    assert [error.line for error in refused] == [4, 6]


@pytest.mark.parametrize(
    ("sinks", "line", "says"),
    [
        ("- {}\n", 4, "sinks[0] needs a connector."),
        ("- path: x\n  conector: sqlite\n", 5, 'Is "conector" meant to be "connector"?'),
        (f"{SMALL}- {{connector: sqlit}}\n", 5, 'Did you mean "sqlite"?'),
        ("- {connector: absent}\n", 4, "Install headwater[absent]."),
        ("- connector: 7\n", 4, "sinks[0].connector must be text"),
        ("- connector: sqlite\n  pth: x\n", 5, 'unknown key "pth" in sinks[0]. Did you mean "path"?'),
        ("- connector: sqlite\n  colums: x\n", 5, 'Did you mean "columns"?'),
        ("- connector: sqlite\n  host: x\n", 5, 'unknown key "host"'),
        ("- {connector: sqlite, path: x.db}\n", 4, "lists no columns, and the schema shop/order gives none"),
        ("- {connector: sqlite, columns: {id: text}}\n", 4, "needs path"),
        ("- connector: sqlite\n  columns: {id: text}\n  path: 7\n", 6, "sinks[0].path must be text, not 7."),
        ("- connector: sqlite\n  path: x\n  columns:\n    id: txt\n", 7, 'Did you mean "text"?'),
        ("- connector: sqlite\n  path: x\n  columns:\n    id: [text]\n", 7, "must be a type, or a list"),
        ("- connector: sqlite\n  path: x\n  columns:\n    id: [text, a..b]\n", 7, "must be a type, or a list"),
        ("- connector: sqlite\n  path: x\n  columns:\n    id: null\n", 7, "must be a type, or a list"),
        ("- connector: sqlite\n  path: x\n  columns: [id]\n", 6, "must be a mapping"),
        ("- {connector: sqlite, path: x, columns: {}}\n", 4, "needs columns"),
        ("- {connector: sqlite, path: x, columns: {'a b': text}}\n", 4, "cannot name"),
        ("- {connector: sqlite, path: x, columns: {id: text}, key: no}\n", 4, "The key of table shop_orders has 'no'"),
        ("- {connector: sqlite, path: x, columns: {name: text}, key: nmae}\n", 4, 'Did you mean "name"?'),
        ("- {connector: sqlite, path: x, columns: {id: [text, meta.id]}, key: meta.ids}\n", 4, 'mean "meta.id"?'),
        (
            "- {connector: sqlite, path: x, columns: {id: text}, key: ''}\n",
            4,
            "has '', which is not one of its columns",
        ),
        ("- {connector: sqlite, path: x, columns: {id: text}, key: [id, id]}\n", 4, "has id twice"),
        ("- {connector: calls, host: h, key: [a.b, a.b]}\n", 4, "has a.b twice"),
        ("- {connector: sqlite, path: x, columns: {id: text}, version: id}\n", 4, "the table has no key"),
        ("- {connector: sqlite, path: x, columns: {id: text}, key: id, version: id}\n", 4, "it is part of its key"),
        ("- {connector: sqlite, path: x, columns: {id: text, at: text}, key: id, version: att}\n", 4, 'mean "at"?'),
        (
            "- {connector: sqlite, path: x, columns: {id: text, b: boolean}, key: id, version: b}\n",
            4,
            "is boolean",
        ),
        ("- {connector: sqlite, path: x, columns: {id: text}, order: no}\n", 4, "is not an order"),
        ("- {connector: sqlite, path: x, columns: {bytes: text}, order: bytess desc}\n", 4, 'Did you mean "bytes"?'),
        ("- connector: sqlite\n  columns: {id: text}\n  path: '${env:HOME}/x.db'\n", 6, "takes no reference"),
        ("- {connector: sqlite, path: x, columns: {id: text}, table: 'a b'}\n", 4, "cannot name"),
        ("- connector: remote\n  host: h\n  columns: {id: text}\n  password: hunter2\n", 7, "must be a reference"),
        ("- connector: remote\n  host: h\n  columns: {id: text}\n  delete_when: {a: b}\n", 7, "remote deletes nothing"),
        ("- {connector: deleting, host: h, columns: {id: text}, delete_when: {a: b}}\n", 4, "and no key"),
        ("- connector: deleting\n  host: h\n  columns: {id: text}\n  delete_when: a\n", 7, "must be a mapping"),
        ("- connector: calls\n  host: h\n  delete_when:\n    a: {b: c}\n", 7, "a dotted path and a value"),
        ("- connector: calls\n  host: h\n  delete_when:\n    a: []\n", 7, "a dotted path and a value"),
        ("- connector: calls\n  host: h\n  delete_when:\n    a..b: c\n", 7, "a dotted path and a value"),
        ("- {connector: calls, host: h, delete_when: {a: b}}\n", 4, "and no key"),
        ("- {connector: calls, host: h, version: a}\n", 4, "has a version and no key"),
        ("- {connector: calls, host: h, key: a..b}\n", 4, "no dotted path"),
        ("- {connector: calls, host: h, name: a b}\n", 4, "cannot name a sink"),
        ("- connector: calls\n  host: h\n  columns: {id: text}\n", 6, 'unknown key "columns"'),
    ],
)
def test_what_cannot_be_is_refused_with_its_line(tmp_path: Path, sinks: str, line: int, says: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        jobs_of(tmp_path, {"shop.orders.yaml": stream(sinks)})
    assert says in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert (Path(caught.value.file or "").name, caught.value.line) == ("shop.orders.yaml", line)


@pytest.mark.parametrize("sinks", ["{}", "sqlite", "[sqlite]"])
def test_sinks_are_a_list_of_mappings(tmp_path: Path, sinks: str) -> None:
    with pytest.raises(ConfigInvalid, match="sinks must be a list of mappings"):
        jobs_of(tmp_path, {"a.yaml": f"stream: a\nsinks: {sinks}\n"})


def test_a_family_has_no_sinks(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="a family of streams has no sinks"):
        jobs_of(tmp_path, {"families/all.yaml": stream(SMALL, "/^a\\./")})


def test_two_sinks_of_one_name_are_refused(tmp_path: Path) -> None:
    calls = "- {connector: calls, host: h}\n"
    for other in (calls, SMALL):
        with pytest.raises(
            ConfigInvalid, match=r"streams/a\.yaml:5: .* a is filled by another job, at streams/a\.yaml:4"
        ):
            jobs_of(tmp_path, {"a.yaml": stream(calls + other, "a")})


def test_two_sinks_of_one_table_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"streams/a\.yaml:5: .*table a .*streams/a\.yaml:4"):
        jobs_of(tmp_path, {"a.yaml": stream(SMALL + SMALL, "a")})


def test_a_table_of_a_job_and_a_sink_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "a.py").write_text(
        'from headwater.jobs import table\na = table("a", source="a", columns={"id": "text"})\n'
    )
    with pytest.raises(ConfigInvalid, match=r"streams/a\.yaml:4: .*table a .*jobs/a\.py:2"):
        jobs_of(tmp_path, {"a.yaml": stream(SMALL, "a")})


def test_secrets_stay_references_until_the_sink_is_made(tmp_path: Path) -> None:
    sinks = "- {connector: remote, host: h, columns: {id: text}, password: '${env:PASSWORD}'}\n"
    (job,) = jobs_of(tmp_path, {"shop.orders.yaml": stream(sinks)})
    writes = job.writes()
    assert writes.sink is not None
    assert writes.table is not None
    assert writes.sink.references == {"password": "${env:PASSWORD}"}
    assert "PASSWORD" not in repr(job)
    assert "hunter2-" not in repr(writes.sink.made(writes.table, {"password": "hunter2"}, tmp_path))


def test_what_is_not_written_of_a_batch_is_what_the_connector_prefers(tmp_path: Path) -> None:
    sinks = (
        "- {connector: sqlite, path: t.db, columns: {id: text}, batch: {rows_max: 7, seconds_max: 2},"
        " attempts_max: 3, on_error: skip}\n"
        "- {connector: sqlite, path: t.db, columns: {id: text}, table: other}\n"
    )
    job, other = jobs_of(tmp_path, {"shop.orders.yaml": stream(sinks)})
    preferred = sink_spec("sqlite").batch
    assert job.writes().batch == dataclasses.replace(preferred, rows_max=7, seconds_max=2.0)
    assert (job.writes().attempts_max, job.on_error) == (3, "skip")
    assert (other.writes().batch, other.writes().attempts_max, other.on_error) == (preferred, 10, "error_event")
    settings = settings_for(job, RunnerSettings())
    assert (settings.batch_records_max, settings.batch_seconds_max, settings.attempts_max) == (7, 2.0, 3)
    assert settings.batch_bytes_max == preferred.bytes_max


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("batch: 5", "batch must be a mapping"),
        ("batch: {rows: 5}", "(?s)rows.*rows_max"),
        ("batch: {rows_max: 0}", "rows_max must be at least 1"),
        ("batch: {bytes_max: many}", "bytes_max must be a whole number"),
        ("batch: {seconds_max: -1}", "seconds_max must be at least 0"),
        ("attempts_max: 0", "attempts_max must be at least 1"),
        ("attempt_max: 1", "attempts_max"),
        ("on_error: ignore", "on_error must be"),
        ("on_eror: skip", "on_error"),
    ],
)
def test_an_option_of_delivery_that_cannot_be_is_refused_with_its_place(
    tmp_path: Path, option: str, message: str
) -> None:
    sinks = "- {connector: sqlite, path: t.db, columns: {id: text}, " + option + "}\n"
    with pytest.raises(ConfigInvalid, match=message) as refused:
        jobs_of(tmp_path, {"shop.orders.yaml": stream(sinks)})
    assert "shop.orders.yaml" in str(refused.value)


@pytest.mark.parametrize("name", sorted(SINKS))
def test_no_option_of_a_connector_has_the_name_of_one_of_all(name: str) -> None:
    spec = sink_spec(name)
    assert (
        set(fields_of(spec.options)) & {CONNECTOR, *fields_of(COMMON[spec.form]), *fields_of(DeliveryOptions)} == set()
    )


def test_a_sink_may_begin_with_what_is_received_from_now_on(tmp_path: Path) -> None:
    newest = SMALL.replace("{", "{start: newest, ", 1)
    (one,) = jobs_of(tmp_path, {"a.yaml": stream(newest, "a")})
    (other,) = jobs_of(tmp_path, {"a.yaml": stream(SMALL, "a")})
    assert (one.start, other.start) == ("newest", "oldest")
    with pytest.raises(ConfigInvalid, match="oldest"):
        jobs_of(tmp_path, {"a.yaml": stream(newest.replace("newest", "earliest"), "a")})


@pytest.mark.parametrize("name", ["id", "customer.name"])
def test_keys_and_versions_are_columns_or_their_paths(tmp_path: Path, name: str) -> None:
    columns = "{id: [text, meta.id], customer: [text, customer.name], at: [text, order.at]}"
    sinks = f"- {{connector: sqlite, path: x, columns: {columns}, key: {name}, version: order.at}}\n"
    (job,) = jobs_of(tmp_path, {"shop.orders.yaml": stream(sinks)})
    shape = job.writes().target
    assert isinstance(shape, TableShape)
    assert (shape.key, shape.version) == ({"id": ("id",), "customer.name": ("customer",)}[name], "at")
