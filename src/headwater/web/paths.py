"""The paths that more than one module of this room names."""

from __future__ import annotations

REPOSITORIES = "/repositories"
# Clients of a registry list its schemas here, and people type it when they look for the pages.
SCHEMA_LISTING = "/schemas"
# What all repositories hold together goes by this name, and schemas lie in this folder of a repository.
MERGED = "all"
SCHEMA_FOLDER = "jsonschema"
