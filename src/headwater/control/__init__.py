"""Changes what is declared of streams while the platform runs: audited revisions on top of the files."""
