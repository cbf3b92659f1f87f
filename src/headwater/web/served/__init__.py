"""Rows of tables over HTTP, as the files of a project declare them."""
