"""The types of a schema's fields for databases and formats, and how tables follow a new version."""
