"""The legacy stream configuration: read, written, merged by site, and served by its API."""
