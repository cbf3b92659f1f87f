"""Streams as tables of Flink: their columns, what reads and writes them, and jobs that are queries."""
