"""History: a job over files that end, with the loop of the live runner."""
