"""Where the jobs of a platform run, and how they are started, watched and stopped there."""
