"""Whether streams flow: canary events, whole hours, and counts that must agree."""
