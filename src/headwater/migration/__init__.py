"""Moving a project to another log: topics, the positions of readers, and jobs with their state."""
