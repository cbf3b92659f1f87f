"""What streams exist and how each behaves."""

from headwater.streams.registry import StreamRegistry
from headwater.streams.stream import Stream

__all__ = ["Stream", "StreamRegistry"]
