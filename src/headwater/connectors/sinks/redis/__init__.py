"""The Redis sink: each row is a hash, written by one script together with the resume token."""
