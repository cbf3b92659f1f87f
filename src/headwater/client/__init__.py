"""Sends events from any Python program to an intake, and reads the events of streams."""

from headwater.client.answer import Refusal
from headwater.client.async_producer import AsyncProducer
from headwater.client.consumer import AsyncConsumer, Consumer
from headwater.client.producer import Producer, ProducerSettings, Statistics
from headwater.client.reading import ConsumerSettings, ConsumerStatistics, Notice
from headwater.event_stream import SubscriptionRefused

__all__ = [
    "AsyncConsumer",
    "AsyncProducer",
    "Consumer",
    "ConsumerSettings",
    "ConsumerStatistics",
    "Notice",
    "Producer",
    "ProducerSettings",
    "Refusal",
    "Statistics",
    "SubscriptionRefused",
]
