"""The shared log on Apache Kafka: for as many processes and machines as there are."""
