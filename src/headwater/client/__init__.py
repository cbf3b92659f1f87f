"""Sends events from any Python program to an intake: queued, batched, sampled, retried, and flushed at exit."""

from headwater.client.answer import Refusal
from headwater.client.producer import Producer, ProducerSettings, Statistics

__all__ = ["Producer", "ProducerSettings", "Refusal", "Statistics"]
