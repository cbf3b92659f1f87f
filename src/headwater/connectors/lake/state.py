"""What the writer of a lake's table remembers with each commit: canaries, open hours, and what had no column."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from headwater.connectors.lake.layout import HOUR_MS, hour_of, hour_place
from headwater.connectors.lake.options import Stored
from headwater.errors import TokenInvalid
from headwater.log.contract import Position

# Hours of a stream without canaries never become complete: the oldest are forgotten.
OPEN_HOURS_MAX = 2_000
UNDECLARED_MAX = 1_000
OTHERS = "(others)"


class LakeState:
    """The facts of one commit, to be changed for the next. `datacenters`: topic → datacenter."""

    def __init__(self, facts: Mapping[str, Any], datacenters: Mapping[str, str]) -> None:
        self._datacenters = datacenters
        self.canaries: dict[str, int] = dict(facts.get("canaries", {}))
        self.open: dict[str, None] = dict.fromkeys(facts.get("open", ()))
        self.undeclared: Counter[str] = Counter(facts.get("undeclared", {}))
        self.duplicates = int(facts.get("duplicates", 0))
        self.last_complete: dict[str, int] = dict(facts.get("last_complete", {}))
        self.columns: str | None = facts.get("columns")
        self._before = Counter(self.undeclared), self.duplicates

    def facts(self) -> dict[str, Any]:
        """The same as JSON has it."""
        return {
            "canaries": self.canaries,
            "open": list(self.open)[-OPEN_HOURS_MAX:],
            "undeclared": dict(self.undeclared),
            "duplicates": self.duplicates,
            "last_complete": self.last_complete,
            "columns": self.columns,
        }

    def stored(self) -> Stored:
        """What has changed since the commit before, and until when hours are complete."""
        undeclared, duplicates = self._before
        complete = {one: self.last_complete.get(one) for one in self._datacenters.values()}
        return Stored(
            {one: None if hour is None else (hour + 1) * HOUR_MS for one, hour in complete.items()},
            self.undeclared - undeclared,
            self.duplicates - duplicates,
        )

    def saw_canary(self, partition: str, hour: int) -> None:
        """A canary of this hour (since the epoch) was read from `TOPIC/PARTITION`."""
        datacenter = self._datacenters.get(partition.rpartition("/")[0])
        if datacenter is None:
            return
        self.canaries[partition] = max(hour, self.canaries.get(partition, hour))
        if hour > self.last_complete.get(datacenter, hour - 1):
            self.open.setdefault(hour_place(datacenter, hour))

    def saw_undeclared(self, paths: Iterable[str]) -> None:
        """Fields without a column, by their paths."""
        for path in paths:
            is_new = path not in self.undeclared and len(self.undeclared) >= UNDECLARED_MAX
            self.undeclared[OTHERS if is_new else path] += 1

    def completed(self, token: str, touched: Collection[str]) -> Sequence[str]:
        """The hours that are complete now, of those that were not or that were `touched`.

        An hour is complete when every partition of its datacenter's topic has had a canary of a later hour.
        """
        self.open.update(dict.fromkeys(touched))
        found = []
        partitions = self._partitions(token)
        for datacenter in {*self._datacenters.values()}:
            hours = [self.canaries.get(one) for one in partitions.get(datacenter, ())]
            if not hours or any(hour is None for hour in hours):
                continue
            before = min(hour for hour in hours if hour is not None)
            for place in list(self.open):
                known = hour_of(place)
                if known is not None and known[0] == datacenter and known[1] < before:
                    found.append(place)
                    del self.open[place]
            self.last_complete[datacenter] = max(before - 1, self.last_complete.get(datacenter, before - 1))
        return found

    def _partitions(self, token: str) -> Mapping[str, set[str]]:
        """The partitions of each datacenter, as `TOPIC/PARTITION`."""
        try:
            known = {f"{topic}/{partition}" for topic, partition in Position.parse(token).offsets}
        except TokenInvalid:
            known = set()
        found: dict[str, set[str]] = {}
        for one in known | self.canaries.keys():
            datacenter = self._datacenters.get(one.rpartition("/")[0])
            if datacenter is not None:
                found.setdefault(datacenter, set()).add(one)
        return found


def columns_text(schema: Any) -> str:
    """A `pyarrow.Schema` as text."""
    return base64.b64encode(schema.serialize().to_pybytes()).decode()


def columns_of(text: str) -> Any:
    """The `pyarrow.Schema` of such a text."""
    import pyarrow
    from pyarrow import ipc

    return ipc.read_schema(pyarrow.py_buffer(base64.b64decode(text)))
