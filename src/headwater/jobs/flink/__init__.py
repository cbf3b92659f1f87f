"""What a job on Flink is that no other engine runs: a query in Flink's own SQL."""
