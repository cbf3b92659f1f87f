"""Topics of any Kafka: what the source and the sink have in common."""
