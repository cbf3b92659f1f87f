"""Rules: which events lead to which requests to other services, and what happens when these fail."""
