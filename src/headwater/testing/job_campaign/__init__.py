"""The job campaign: kill the processes of a platform whose jobs are of every kind, and compare everything they made."""
