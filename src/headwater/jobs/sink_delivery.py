"""How a sink is given its events: from where on, in which batches, how often, and what becomes of those it refuses."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from headwater.connectors.spec import BatchDefaults, SinkSpec
from headwater.declaration import Declaration, KeyPath
from headwater.options import fields_of, read_section
from headwater.settings import setting

BATCH = "batch"


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """What is written at once; null: what the connector prefers."""

    rows_max: int | None = setting(None, "How many events are written at once, at most.", at_least=1, at_most=1_000_000)
    bytes_max: int | None = setting(
        None,
        "Of how many bytes the events are that are written at once, as they are in the log; memory holds them until"
        " then.",
        at_least=1,
        at_most=1_073_741_824,
    )
    seconds_max: float | None = setting(
        None,
        "How long the first event of a batch waits for others, from its receipt; 0: what there is, is written at once.",
        at_least=0,
        at_most=86_400,
    )


@dataclass(frozen=True, slots=True)
class DeliveryOptions:
    """What every sink takes, of any form, besides the options of its connector."""

    batch: Mapping[str, Any] = setting(
        {},
        "What is written at once: `rows_max`, `bytes_max` and `seconds_max`, the time that the first event waits for"
        " others. A batch is written when the first of these is reached; what is left out, the connector decides.",
    )
    attempts_max: int = setting(
        10,
        "How often an event is given to a target that does not take it, while it takes others. An unavailable target"
        " spends no attempts.",
        at_least=1,
        at_most=1_000,
    )
    on_error: Literal["error_event", "stop", "skip"] = setting(
        "error_event",
        "What becomes of an event that cannot be written: `error_event` stores it in the error stream of the sink,"
        " `stop` stops the sink in front of it, `skip` counts it and leaves it out.",
    )
    start: Literal["oldest", "newest"] = setting(
        "oldest",
        "Where a sink begins that has no position yet: `oldest` with what the stream still has, `newest` with what is"
        " received after its first start.",
    )


@dataclass(frozen=True, slots=True)
class SinkDelivery:
    """The options of one sink, complete."""

    batch: BatchDefaults
    attempts_max: int
    on_error: Literal["error_event", "stop", "skip"]
    start: Literal["oldest", "newest"]


def read_delivery(written: Mapping[str, Any], spec: SinkSpec, source: Declaration, path: KeyPath) -> SinkDelivery:
    """The options among those written at `path`, the preferences of the connector for what is left out.

    Raises ConfigInvalid.
    """
    known = fields_of(DeliveryOptions)
    own = {key: value for key, value in written.items() if key in known}
    options = read_section(DeliveryOptions, own, source, path)
    asked = read_section(BatchOptions, options.batch, source, (*path, BATCH))
    given = {key: value for key in fields_of(BatchOptions) if (value := getattr(asked, key)) is not None}
    batch = dataclasses.replace(spec.batch, **given)
    return SinkDelivery(batch, options.attempts_max, options.on_error, options.start)
