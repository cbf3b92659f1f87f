"""Reports of a check of a schema repository, and pages about schemas, for people and programs."""
