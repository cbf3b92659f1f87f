"""Which writer owns each group that was claimed, so that what a replaced one still sends is refused.

How this works: writers are this process and the processes at the other ends of links, each named by any object; None
is this process. Who claims a group takes it from its owner, whose later commits for it raise WriterFenced until it
claims the group itself, or releases it. A group that nobody owns may be committed by anybody who was not fenced.
"""

from __future__ import annotations

from headwater.errors import WriterFenced

# None: this process.
WriterName = object | None


class ClaimedGroups:
    """Belongs to one event loop."""

    def __init__(self) -> None:
        self._owners: dict[str, WriterName] = {}
        self._fenced: set[tuple[WriterName, str]] = set()

    def take(self, group: str, writer: WriterName) -> None:
        """Make `writer` the owner of the group."""
        if group in self._owners and (owner := self._owners[group]) is not writer:
            self._fenced.add((owner, group))
        self._fenced.discard((writer, group))
        self._owners[group] = writer

    def require(self, group: str, writer: WriterName) -> None:
        """Raise WriterFenced if another has taken the group from `writer`, or owns it."""
        owner = self._owners.get(group, writer)
        if owner is not writer or (self._fenced and (writer, group) in self._fenced):
            raise WriterFenced(
                f"Another process of this platform has taken over the group {group!r}; this commit was not made.",
                hint="A job runs in one process at a time; it continues in the process that has claimed its group.",
            )

    def give_up(self, group: str, writer: WriterName) -> None:
        """`writer` has no part in the group any longer; nothing if it had none."""
        self._fenced.discard((writer, group))
        if group in self._owners and self._owners[group] is writer:
            del self._owners[group]

    def forget(self, writer: WriterName) -> None:
        """`writer` is gone, and everything it owned is free."""
        self._owners = {group: owner for group, owner in self._owners.items() if owner is not writer}
        self._fenced = {one for one in self._fenced if one[0] is not writer}
