"""Paths that several modules of this package use."""

from __future__ import annotations

REPOSITORIES = "/repositories"
# Clients of a registry list its schemas here, and people type it to find the pages.
SCHEMA_LISTING = "/schemas"
# The name of all repositories merged, and the folder of the schemas in a repository.
MERGED = "all"
SCHEMA_FOLDER = "jsonschema"
