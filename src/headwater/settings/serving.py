"""The sections of settings: how the platform is watched, and where HTTP is served."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headwater.settings.setting import setting


@dataclass(frozen=True, slots=True)
class MonitoringConfig:
    """How streams are monitored."""

    canaries: bool = setting(True, "Send canaries for the streams that enable them (`monitor.canary.enabled`).")
    canary_period_seconds: float = setting(
        900.0, "How often canaries are sent, unless the stream sets `monitor.canary.period`.", at_least=1
    )
    canary_required_within_seconds: float = setting(
        3600.0,
        "After how long without a canary an alert is raised, unless the stream sets `monitor.canary.required_within`.",
        at_least=1,
    )
    canary_timeout_seconds: float = setting(
        10.0, "How long one canary may take from sending to arrival.", at_least=0.1, at_most=300
    )
    canary_keys: Mapping[str, Any] = setting(
        {},
        "API keys for canaries, by the address of an intake in `services.yaml` that requires one, such as "
        "`https://intake.codfw.example.org`: `${env:NAME}` or `${file:PATH}`, read when the platform starts.",
        secret=True,
    )
    canaries_at_once_max: int = setting(8, "The most canaries in flight at the same time.", at_least=1)
    completeness: bool = setting(True, "Count events by hour, to find out which hours are complete.")
    count_interval_seconds: float = setting(10.0, "How often new events are counted.", at_least=0.1, at_most=600)
    max_lateness_seconds: float = setting(
        3600.0,
        "How long after an hour its events may still arrive, unless the stream sets `monitor.expect.max_lateness`.",
        at_least=0,
    )
    hours_kept: int = setting(336, "How many hours the counts are kept.", at_least=2, at_most=8784)


@dataclass(frozen=True, slots=True)
class WebConfig:
    """Where HTTP is served."""

    host: str = setting("127.0.0.1", "The address to listen on.")
    port: int = setting(8080, "The port to listen on; 0 picks a free port.", at_least=0, at_most=65_535)
    public_url: str | None = setting(
        None,
        "The address under which clients reach the server, such as `https://events.example.org`, used in "
        "documents; null: as in the request.",
        starts_with=("http://", "https://"),
    )
    hosts: tuple[str, ...] | None = setting(
        None,
        "The names that requests may have in `Host`, in addition to the server's addresses, names without a dot "
        "and the name in `public_url`; `*` for all; others are answered with 421. null: none if the server "
        "listens on loopback, otherwise all.",
    )
    served_tables_path: str = setting(
        "served_tables",
        "A directory with one YAML file per table that is served over HTTP, relative to the project.",
    )
    viewers_max: int = setting(200, "The most open pages that show the platform live.", at_least=1)
    viewers_per_address_max: int = setting(
        20, "The most per client address (see `consumption.client_address_header`).", at_least=1
    )
    headers_max: int = setting(
        100,
        "The most headers of a request, and the most trailers; requests with more are answered with 431.",
        at_least=10,
    )
    headers_bytes_max: int = setting(
        65_536,
        "The largest size of request line and headers together, and of trailers; larger requests are answered "
        "with 431.",
        at_least=4_096,
    )
    headers_seconds_max: float = setting(
        30.0, "How long the headers of a request may take to arrive before it is answered with 408.", at_least=0.1
    )
    body_seconds_max: float = setting(
        120.0, "How long the body of a request may take to arrive before it is answered with 408.", at_least=0.1
    )
