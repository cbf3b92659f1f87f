"""A project with all features: intake, canaries, a chain of jobs of each kind, and tables of their outputs.

How this works: orders come in and are refused or stored. `passed` copies them without state; from its output `numbered`
counts the orders per shop, and `per_minute` aggregates per shop and minute; three tables are filled from the three
outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from headwater.testing.service_kit import write_project

SERVICE = "orders-intake"
ORDERS = "orders"
PASSED = "orders_passed"
NUMBERED = "orders_numbered"
PER_MINUTE = "orders_per_minute"
ERRORS = f"{SERVICE}.error.validation"
SCHEMA_URI = "/order/1.0.0"
JOBS = ("passed", "numbered", "per_minute")
TABLES = ("orders", "running", "per_minute")

_JOBS_FILE = """
from headwater.jobs import job, table, tumbling

{leak}

@job(source="orders", sink="orders_passed")
def passed(event, context):
    {leaks}
    return {{
        "dt": event["dt"],
        "shop": event["shop"],
        "slot": event["slot"],
        "amount": event["amount"],
        "order": event["meta"]["id"],
    }}

@job(source="orders_passed", sink="orders_numbered", key="shop", state=int)
def numbered(event, context):
    context.state += 1
    return {{"dt": event["dt"], "shop": event["shop"], "number": context.state, "order": event["order"]}}

@job(source="orders_passed", sink="orders_per_minute", key="shop", idle="100ms",
     window=tumbling("1m", lateness="{lateness}").count("orders").sum("amount", "amount"))
def per_minute(window, context):
    return {{
        "dt": window.start, "shop": window.key, "start": window.start, "orders": window.orders, "amount": window.amount
    }}

orders = table("orders", source="orders_passed", key="slot", columns={{
    "slot": "integer", "shop": "text", "amount": "integer", "order_id": ("text", "order")}})
running = table("running", source="orders_numbered", key="shop", columns={{"shop": "text", "number": "integer"}})
minutes = table("per_minute", source="orders_per_minute", key=("shop", "start"), columns={{
    "shop": "text", "start": "text", "orders": "integer", "amount": "integer"}})
"""


@dataclass(frozen=True, slots=True)
class ProjectSettings:
    """The options of a project. `leak_bytes` are leaked for each order, to show that a leak is detected."""

    retention: str = "7d"
    lateness: str = "1d"
    canary_period: str = "1s"
    count_interval_seconds: float = 0.5
    trim_interval_seconds: float = 5.0
    leak_bytes: int = 0
    dedupe_window_seconds: float = 300.0
    dedupe_ids_max: int = 200_000


def write_whole_project(directory: Path, settings: ProjectSettings) -> None:
    """Write the files; nothing is started."""
    fields: dict[str, dict[str, Any]] = {
        ORDERS: {"shop": _TEXT, "slot": _INTEGER, "amount": _INTEGER, "text": _TEXT},
        PASSED: {"shop": _TEXT, "slot": _INTEGER, "amount": _INTEGER, "order": _TEXT},
        NUMBERED: {"shop": _TEXT, "number": _INTEGER, "order": _TEXT},
        PER_MINUTE: {"shop": _TEXT, "start": _TEXT, "orders": _INTEGER, "amount": _INTEGER},
    }
    titles = {ORDERS: "order", PASSED: "passed_order", NUMBERED: "numbered_order", PER_MINUTE: "minute_of_orders"}
    write_project(
        directory,
        [_schema(titles[stream], own) for stream, own in fields.items()],
        [_stream(stream, titles[stream], settings) for stream in fields],
    )
    (directory / "jobs").mkdir(exist_ok=True)
    leak, leaks = ("KEPT = []", f"KEPT.append(b'x' * {settings.leak_bytes})") if settings.leak_bytes else ("", "pass")
    text = _JOBS_FILE.format(lateness=settings.lateness, leak=leak, leaks=leaks)
    (directory / "jobs" / "orders.py").write_text(text, encoding="utf-8")
    (directory / "headwater.yaml").write_text(yaml.safe_dump(_configuration(settings)), encoding="utf-8")


def order(identifier: str, dt: str, shop: str, slot: int, amount: int) -> dict[str, Any]:
    """An order that is accepted."""
    return {
        "$schema": SCHEMA_URI,
        "meta": {"stream": ORDERS, "id": identifier},
        "dt": dt,
        "shop": shop,
        "slot": slot,
        "amount": amount,
    }


_TEXT: Mapping[str, Any] = {"type": "string", "maxLength": 400}
_INTEGER: Mapping[str, Any] = {"type": "integer", "minimum": -(2**53), "maximum": 2**53}
_TIME: Mapping[str, Any] = {"type": "string", "format": "date-time", "maxLength": 64}


def _schema(title: str, own: Mapping[str, Any]) -> dict[str, Any]:
    example = {name: "a" if kind["type"] == "string" else 1 for name, kind in own.items()}
    stream_example = {"$schema": f"/{title}/1.0.0", "meta": {"stream": title}, "dt": "2026-01-31T12:00:00Z"}
    return {
        "title": title,
        "$id": f"/{title}/1.0.0",
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "additionalProperties": False,
        "required": ["$schema", "meta", "dt", "shop"],
        "properties": {
            "$schema": _TEXT,
            "meta": {
                "type": "object",
                "required": ["stream"],
                "properties": {
                    "stream": _TEXT,
                    "id": _TEXT,
                    "dt": _TIME,
                    "domain": _TEXT,
                    "request_id": _TEXT,
                },
            },
            "dt": _TIME,
            **own,
        },
        "examples": [stream_example | example],
    }


def _stream(name: str, title: str, settings: ProjectSettings) -> dict[str, Any]:
    return {
        "stream": name,
        "schema_title": title,
        "transport": {"partitions": 2, "message_key_fields": {"shop": "shop"}, "retention": settings.retention},
        "produce": {"destination_event_service": SERVICE},
        "monitor": {"canary": {"enabled": True, "period": settings.canary_period, "required_within": "1m"}},
    }


def _configuration(settings: ProjectSettings) -> dict[str, Any]:
    return {
        "log": {"url": "sqlite:///var/events.db", "trim_interval_seconds": settings.trim_interval_seconds},
        "intake": {
            "service_name": SERVICE,
            "dedupe_window_seconds": settings.dedupe_window_seconds,
            "dedupe_ids_max": settings.dedupe_ids_max,
        },
        "monitoring": {"count_interval_seconds": settings.count_interval_seconds},
    }
