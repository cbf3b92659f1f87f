"""Access control: API keys, the file that stores them, and failed attempts."""
