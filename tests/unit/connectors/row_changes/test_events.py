"""Row changes become events with the fields that a project declares."""

from __future__ import annotations

from typing import Any

import pytest

from headwater.connectors.contract import Delivery
from headwater.connectors.row_changes.change import RowChange
from headwater.connectors.row_changes.events import RowEvents, read_tables
from headwater.declaration import parse_declaration
from headwater.errors import ConfigInvalid

AT_MS = 1_767_225_600_000


def change(operation: Any = "insert", table: str = "public.orders", **row: Any) -> RowChange:
    return RowChange(table, operation, row, ("id",), 12, "0/C", 1, AT_MS, "77")


def made(yaml: str, one: RowChange) -> Delivery | None:
    declaration = parse_declaration(yaml, file="sources/shop.yaml")
    tables = read_tables(declaration.value["tables"], declaration, ("tables",))
    return RowEvents("shop", tables, lambda table, column, reason: None).delivery(one)


def event(yaml: str, one: RowChange) -> dict[str, Any]:
    delivery = made(yaml, one)
    assert delivery is not None
    value = dict(delivery.value)
    meta = value.pop("meta")
    assert meta == {"stream": delivery.stream, "id": delivery.event_id}
    return value


FIELDS = """
tables:
  public.orders:
    stream: shop.order_change
    schema: /shop/order/1.0.0
    key: id
    fields:
      order_id: id
      customer.name: "{first} {last}"
      customer.city: address.city
      currency: {value: EUR}
      changelog_kind: $kind
      dt: $committed_at
      origin: "$table"
      place: "{$position}/{$transaction}"
    kinds: {insert: create, update: edit}
"""


def test_fields_are_filled_from_columns_templates_constants_and_the_change() -> None:
    row = change(id=1, first="Ann", last="Lee", address={"city": "Bern"}, secret="s")
    assert event(FIELDS, row) == {
        "$schema": "/shop/order/1.0.0",
        "order_id": 1,
        "customer": {"name": "Ann Lee", "city": "Bern"},
        "currency": "EUR",
        "changelog_kind": "create",
        "dt": "2026-01-01T00:00:00Z",
        "origin": "public.orders",
        "place": "0/C/77",
    }


def test_a_deletion_has_the_fields_of_its_key() -> None:
    found = event(FIELDS, change("delete", id=1))
    assert {name: found[name] for name in ("order_id", "changelog_kind")} == {"order_id": 1, "changelog_kind": "delete"}
    assert "customer" not in found


def test_an_operation_that_is_mapped_to_nothing_gives_no_event() -> None:
    assert made(FIELDS.replace("update: edit", "delete: null"), change("delete", id=1)) is None


def test_ids_are_those_of_the_change_each_time() -> None:
    first, again = (made(FIELDS, change(id=1)), made(FIELDS, change(id=1)))
    other = made(FIELDS, change(id=1)._replace(number=2))
    assert first is not None
    assert again is not None
    assert other is not None
    assert first.event_id == again.event_id != other.event_id


OUTBOX = """
tables:
  public.outbox:
    stream: "shop."
    outbox: {payload: body, id: event_id, type: kind, streams: {order: shop.orders, user: crm.users}}
"""


@pytest.mark.parametrize(
    ("kind", "stream"), [("order", "shop.orders"), ("user", "crm.users"), ("unknown", "shop.unknown")]
)
def test_an_outbox_gives_its_payload_to_the_stream_of_its_type(kind: str, stream: str) -> None:
    row = change(table="public.outbox", id=5, event_id="e-1", kind=kind, body={"total": 3, "meta": {"dt": "now"}})
    delivery = made(OUTBOX, row)
    assert delivery is not None
    assert (delivery.stream, delivery.event_id) == (stream, "e-1")
    assert delivery.value == {"total": 3, "meta": {"dt": "now", "id": "e-1"}}


def test_rows_that_are_removed_from_an_outbox_give_nothing() -> None:
    assert made(OUTBOX, change("delete", table="public.outbox", id=5)) is None


def test_a_payload_that_is_no_object_is_delivered_to_be_refused() -> None:
    delivery = made(OUTBOX, change(table="public.outbox", id=5, event_id="e", kind="order", body=[1]))
    assert delivery is not None
    assert delivery.value["body"] == [1]


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("tables: {}", "mapping of tables"),
        ("tables: {orders: {stream: s, columns: [a]}}", "SCHEMA.TABLE"),
        ("tables: {a.b: {columns: [a]}}", "needs `stream`"),
        ("tables: {a.b: {stream: s}}", "needs `columns` or `fields`"),
        ("tables: {a.b: {stream: s, colums: [a]}}", 'unknown key "colums".*Did you mean "columns"'),
        ("tables: {a.b: {stream: s, fields: {x: $kin}}}", r'unknown \$kin.*Did you mean "\$kind"'),
        ("tables: {a.b: {stream: s, fields: {meta.id: a}}}", "not a field of the event"),
        ("tables: {a.b: {stream: s, columns: [id, name], fields: {x: nam}}}", 'not listed.*Did you mean "name"'),
        ("tables: {a.b: {stream: s, columns: [id], key: id, withhold: [{columns: id}]}}", "part of the key"),
        ("tables: {a.b: {stream: s, columns: [id], kinds: {inset: a}}}", 'Did you mean "insert"'),
        ("tables: {a.b: {stream: s, outbox: {body: b}}}", "needs `payload`"),
        ("tables: {a.b: {outbox: {payload: b, streams: {a: s}}}}", "needs `type`"),
        ("tables: {a.b: {stream: s, columns: [id], fields: {x: '{}'}}}", "empty name"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_file_and_line(yaml: str, message: str) -> None:
    declaration = parse_declaration(yaml, file="sources/shop.yaml")
    with pytest.raises(ConfigInvalid, match=f"(?s)sources/shop.yaml:1: .*{message}"):
        read_tables(declaration.value["tables"], declaration, ("tables",))
