"""Headwater: an event platform with schema validation, a durable log, live streams, jobs and tables."""

from typing import TYPE_CHECKING

from headwater.first_use import __getattr__
from headwater.queries.notebook import read, sql

if TYPE_CHECKING:
    from headwater.client import AsyncConsumer, AsyncProducer, Consumer, Producer
    from headwater.jobs import job, table

__version__ = "0.1.0"
__all__ = ["AsyncConsumer", "AsyncProducer", "Consumer", "Producer", "__getattr__", "job", "read", "sql", "table"]
