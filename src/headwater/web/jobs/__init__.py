"""Jobs over HTTP: how they are, what was asked of them, and which events they could not process."""
