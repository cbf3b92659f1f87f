"""An event of the project that `headwater init` makes."""

from __future__ import annotations

from typing import Any

DEMO_EDIT: dict[str, Any] = {
    "$schema": "/demo/edit/1.0.0",
    "meta": {"stream": "demo.edit"},
    "dt": "2026-01-31T12:00:00Z",
    "wiki": "enwiki",
    "title": "River",
    "user": "Ada",
    "bot": False,
    "bytes": 42,
}
