"""What the authors of a schema repository do: edit, materialize, version, release, import and search schemas."""
