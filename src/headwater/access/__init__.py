"""Who may do what: API keys, the file that keeps them, and failed attempts."""
