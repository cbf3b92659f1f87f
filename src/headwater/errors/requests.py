"""Errors of HTTP requests, of their keys, and of what they ask to read."""

from __future__ import annotations

from headwater.errors.family import Fault, HeadwaterError


class RequestTooLarge(HeadwaterError):
    """A request body, or its number of events, exceeds the configured limit."""

    code = "request_too_large"
    fault = Fault.PRODUCER


class HeadersTooLarge(HeadwaterError):
    """The request line and headers of a request, or its trailers, exceed the configured limits in number or size."""

    code = "headers_too_large"
    fault = Fault.PRODUCER


class RequestTooSlow(HeadwaterError):
    """The headers or the body of a request did not arrive within the configured time; none of it was stored."""

    code = "request_too_slow"
    fault = Fault.PRODUCER
    retriable = True


class ContentUnsupported(HeadwaterError):
    """The request body is not JSON, or is in a charset or content encoding that is not understood."""

    code = "content_unsupported"
    fault = Fault.PRODUCER


class KeyRequired(HeadwaterError):
    """The request needs an API key and has none, or its key is unknown, expired or revoked."""

    code = "key_required"
    fault = Fault.CONSUMER


class KeysDamaged(HeadwaterError):
    """The file of API keys, or the entry a request needs, cannot be read; other keys still work."""

    code = "keys_damaged"
    fault = Fault.OPERATOR
    retriable = True


class HostUnknown(HeadwaterError):
    """The request was sent to a host name that this server does not have."""

    code = "host_unknown"
    fault = Fault.CONSUMER


class HeaderRepeated(HeadwaterError):
    """A header that decides how the request is answered occurs more than once."""

    code = "header_repeated"
    fault = Fault.CONSUMER


class ScopeMissing(HeadwaterError):
    """The API key is known, but lacks the permission for this."""

    code = "scope_missing"
    fault = Fault.CONSUMER


class TooManyRequests(HeadwaterError):
    """The requests with this key, or from this address, exceed the configured rate."""

    code = "too_many_requests"
    fault = Fault.CONSUMER
    retriable = True

    def __init__(self, message: str, *, hint: str | None = None, retry_after_seconds: int = 1) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_seconds = retry_after_seconds


class TooManyConnections(HeadwaterError):
    """A limit on concurrent connections is reached, for this address or for the server."""

    code = "too_many_connections"
    fault = Fault.CONSUMER
    retriable = True


class ConsumerTooSlow(HeadwaterError):
    """A consumer did not keep up with its bounded buffer and was disconnected; it can resume from its last token."""

    code = "consumer_too_slow"
    fault = Fault.CONSUMER
    retriable = True


class TokenInvalid(HeadwaterError):
    """A resume token cannot be read, or names topics the subscription does not have."""

    code = "token_invalid"
    fault = Fault.CONSUMER


class FilterInvalid(HeadwaterError):
    """A filter expression cannot be parsed; the message points at the column."""

    code = "filter_invalid"
    fault = Fault.CONSUMER


class TimestampInvalid(HeadwaterError):
    """`since` is neither an ISO 8601 date-time nor an epoch."""

    code = "timestamp_invalid"
    fault = Fault.CONSUMER


class QueryInvalid(HeadwaterError):
    """An SQL query cannot be run as it is written."""

    code = "query_invalid"
    fault = Fault.OPERATOR
