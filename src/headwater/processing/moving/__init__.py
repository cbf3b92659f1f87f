"""The state of a job outside of the runner that made it: as entries, and as a directory of files."""
