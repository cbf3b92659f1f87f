"""Topics of any Kafka as a source."""
