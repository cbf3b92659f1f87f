"""Tables that a project serves over HTTP: what their files say, and how rows are found for a request."""
