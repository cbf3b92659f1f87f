"""Schema repositories over HTTP: files, pages, and the reading side of a schema registry."""
