"""Materialized tables: how a job keeps the newest row of each key, and how rows are read."""
