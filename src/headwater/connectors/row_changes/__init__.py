"""Rows that were changed in a database, whichever it is: what may be shown of them, and the events they become."""
