"""The embedded runner: jobs inside this process, on a log with transactional commits."""
