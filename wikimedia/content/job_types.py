"""The types of jobs of wikis: in which lane, how many at a time and for how long they run, and the shards of wikis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import yaml

from headwater.jobs.durations import milliseconds

LANES = ("default", "low")
PREFIX = "mediawiki.job."


class InvalidQueue(ValueError):
    """The file does not describe a queue."""


@dataclass(frozen=True)
class JobType:
    """What holds for the jobs of a type."""

    lane: str = "default"
    concurrency: int = 5
    timeout_ms: int = 60_000


@dataclass(frozen=True)
class Queue:
    """The types by name, and the shards by wiki."""

    default: JobType
    types: Mapping[str, JobType]
    shards: Mapping[str, int]

    def type(self, name: str) -> JobType:
        """That of an unknown type is the default."""
        return self.types.get(name, self.default)

    def shard(self, wiki: str) -> int:
        """The shard of a wiki."""
        return self.shards.get(wiki, self.shards["default"])

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams of the known types."""
        return tuple(f"{PREFIX}{name}" for name in self.types)

    def of_lane(self, lane: str) -> list[JobType]:
        """The types of a lane, the default one included."""
        return [one for one in (self.default, *self.types.values()) if one.lane == lane]


def queue_of(text: str) -> Queue:
    """The queue that a file describes. Raises InvalidQueue."""
    declared = yaml.safe_load(text)
    if not isinstance(declared, Mapping) or declared.keys() - {"default", "types", "shards"}:
        raise InvalidQueue("It has `default`, `types` and `shards`, and nothing else.")
    shards = declared.get("shards") or {}
    if "default" not in shards or not all(type(shard) is int and shard >= 0 for shard in shards.values()):
        raise InvalidQueue("`shards` are numbers from 0 by wiki, and one is for `default`.")
    default = _type("default", declared.get("default") or {}, JobType())
    types = {name: _type(name, one or {}, default) for name, one in (declared.get("types") or {}).items()}
    return Queue(default, types, shards)


def _type(name: str, declared: Any, default: JobType) -> JobType:
    if not isinstance(declared, Mapping) or declared.keys() - {"lane", "concurrency", "timeout"}:
        raise InvalidQueue(f"{name} has `lane`, `concurrency` and `timeout`, and nothing else.")
    made = replace(default, **{key: value for key, value in declared.items() if key != "timeout"})
    if made.lane not in LANES:
        raise InvalidQueue(f"{name}: `lane` is {made.lane!r:.100}; it is one of {', '.join(LANES)}.")
    if type(made.concurrency) is not int or made.concurrency < 1:
        raise InvalidQueue(f"{name}: `concurrency` is {made.concurrency!r:.100}; it is a number from 1.")
    return replace(made, timeout_ms=milliseconds(declared["timeout"])) if "timeout" in declared else made
