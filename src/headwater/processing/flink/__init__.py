"""Runs jobs on Apache Flink: the same steps, state and results as embedded, on as many machines as are needed."""
