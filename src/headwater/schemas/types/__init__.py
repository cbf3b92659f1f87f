"""The types of a schema's fields in the words of databases and formats, and how tables follow a new version."""
