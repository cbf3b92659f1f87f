"""Errors of streams and of changes of their declarations."""

from __future__ import annotations

from headwater.errors.family import Fault, HeadwaterError


class StreamUnknown(HeadwaterError):
    """No stream of this name is declared."""

    code = "stream_unknown"
    fault = Fault.PRODUCER


class StreamDisabled(HeadwaterError):
    """The stream does not accept events at present: its declaration, or a revision of it, disabled producers."""

    code = "stream_disabled"
    fault = Fault.PRODUCER


class StreamClosed(HeadwaterError):
    """The stream does not accept events from outside: the platform itself writes it, or its stream file says so."""

    code = "stream_closed"
    fault = Fault.PRODUCER


class TooManyStreams(HeadwaterError):
    """The event names a member of a stream family, and the limit on streams created for such names is reached."""

    code = "too_many_streams"
    fault = Fault.PRODUCER


class ChangeRefused(HeadwaterError):
    """A change of stream declarations is not allowed or cannot be understood; nothing was changed."""

    code = "change_refused"
    fault = Fault.CONSUMER


class RevisionUnknown(HeadwaterError):
    """No change of stream declarations has this number."""

    code = "revision_unknown"
    fault = Fault.CONSUMER


class ChangeConflict(HeadwaterError):
    """The streams were changed by another request in the meantime; this change was not applied."""

    code = "change_conflict"
    fault = Fault.CONSUMER
