"""Requests for pages, as a test needs them."""

from __future__ import annotations

from typing import Any

FIXTURE = "synthetic/SYNTHETIC_webrequest.jsonl.gz"


def request(number: int, second: float, **more: Any) -> dict[str, Any]:
    """The request of this number, so many seconds after noon."""
    minutes, rest = divmod(second, 60)
    dt = f"2026-01-31T{12 + int(minutes) // 60:02}:{int(minutes) % 60:02}:{rest:06.3f}Z"
    return {
        "$schema": "/webrequest/1.0.0",
        "meta": {"stream": "webrequest.text", "id": f"request-{number}", "dt": dt, "domain": "en.wiki.example"},
        "dt": dt,
        "ip": "192.0.2.1",
        "http_status": "200",
        "uri_host": "en.wiki.example",
        "uri_path": "/wiki/River",
        **more,
    }
