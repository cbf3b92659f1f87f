"""The addresses of a platform in exports, from its configuration."""

from __future__ import annotations

from collections.abc import Callable

from headwater import __version__
from headwater.catalog.asyncapi import Kafka, Place
from headwater.config import Config
from headwater.log.contract import TopicSettings
from headwater.log.urls import parse_url
from headwater.streams.stream import Stream


def place_of(
    config: Config, topic_settings: Callable[[Stream], TopicSettings], *, url: str | None = None, is_internal: bool
) -> Place:
    """The place for a document; `url` is its address for clients. Raises ConfigInvalid."""
    reached = url or config.web.public_url or f"http://{config.web.host}:{config.web.port}"
    kafka = None
    if is_internal and config.log.is_kafka:
        servers, namespace = parse_url(config.log.url)
        protocol = str(config.log.kafka.get("security.protocol", "plaintext")).lower()
        kafka = Kafka(
            servers=servers.split(","),
            namespace=namespace,
            is_secure=protocol != "plaintext",
            replicas=config.log.replication_factor,
            topic_settings=topic_settings,
        )
    return Place(config.intake.service_name, reached.rstrip("/"), __version__, is_internal, kafka)
