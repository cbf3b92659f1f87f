"""The one error of the servers for the tests: what could not be done, and what to do about it."""


class ServerError(Exception):
    """A server could not be fetched, configured, started or found; the message is meant for a person."""
