"""Where runners commit: outputs, state and position of a job, all of them or none."""
