"""The platform's own page and the feed that keeps it up to date."""
