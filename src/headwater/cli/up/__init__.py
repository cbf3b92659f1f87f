"""`headwater up`: one process or several, the check before the start, and waiting for what is not there yet."""
