"""What people and machines read about a schema repository: reports of a check, and pages about schemas."""
