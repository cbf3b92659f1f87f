"""HTTP, and nothing but HTTP: the translation of requests into calls of the rooms below, and of outcomes into answers."""
