"""Validation of events: the compiled schema, the violations of an event, and the defaults that are filled in."""
