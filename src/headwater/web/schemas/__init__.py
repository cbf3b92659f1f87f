"""Schema repositories over HTTP: files, pages, and the read endpoints of a schema registry."""
