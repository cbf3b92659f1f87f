"""HTTP, and nothing but HTTP: requests become calls of the rooms below, outcomes become answers."""
