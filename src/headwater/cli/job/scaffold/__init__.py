"""The files of a new job, as text: the job, its stream, its tests and its runbook."""
