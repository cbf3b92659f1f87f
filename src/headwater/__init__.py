"""Headwater: an event platform with schema validation, a durable log, live streams, jobs and tables."""

__version__ = "0.1.0"
