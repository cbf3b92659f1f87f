"""The tools for authors of a schema repository: edit, materialize, version, release, import and search schemas."""
