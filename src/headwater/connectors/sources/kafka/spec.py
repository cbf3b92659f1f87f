"""The Kafka source as a connector."""

from __future__ import annotations

from headwater.connectors.source_spec import SourceSpec
from headwater.connectors.sources.kafka.options import KafkaSourceOptions, check
from headwater.connectors.sources.kafka.source import KafkaSource

SPEC = SourceSpec(
    name="kafka",
    summary="Reads topics of any Kafka, such as those of other teams.",
    options=KafkaSourceOptions,
    make=KafkaSource,
    features=KafkaSource.features,
    extra="kafka",
    check=check,
    example="""\
connector: kafka
servers: [kafka.example.org:9092]
topics: [orders]
stream: shop.order
""",
)
