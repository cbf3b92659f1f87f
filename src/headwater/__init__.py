"""Headwater: an event platform with schema validation, a durable log, live streams, jobs and tables."""

from headwater.queries.notebook import sql

__version__ = "0.1.0"
__all__ = ["sql"]
