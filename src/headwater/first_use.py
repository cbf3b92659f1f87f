"""What the package offers but imports only when it is first used, so that `import headwater` stays quick."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_ROOMS = {
    "AsyncConsumer": "headwater.client",
    "AsyncProducer": "headwater.client",
    "Consumer": "headwater.client",
    "Producer": "headwater.client",
    "job": "headwater.jobs",
    "table": "headwater.jobs",
}


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module 'headwater' has no attribute {name!r}")
    return getattr(import_module(_ROOMS[name]), name)
