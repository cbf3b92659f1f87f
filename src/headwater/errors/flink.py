"""Errors of a Flink cluster: it does not answer, or does not do what it is asked."""

from __future__ import annotations

from headwater.errors.family import Fault, HeadwaterError


class FlinkUnavailable(HeadwaterError):
    """The Flink cluster does not answer now, or not in a form that can be read; the message names its address."""

    code = "flink_unavailable"
    fault = Fault.OPERATOR
    retriable = True


class FlinkRefused(HeadwaterError):
    """The Flink cluster, or a job on it, cannot do what was asked; the message has the cluster's own reason."""

    code = "flink_refused"
    fault = Fault.OPERATOR
