"""Headwater: an event platform. Schema-checked events in, a durable log, live streams, jobs and tables out."""

__version__ = "0.1.0"
