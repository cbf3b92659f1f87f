"""HTTP, and nothing but HTTP: requests become calls of lower layers, and results become responses."""
