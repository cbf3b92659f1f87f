"""Changes stream declarations at run time: audited revisions on top of the files."""
