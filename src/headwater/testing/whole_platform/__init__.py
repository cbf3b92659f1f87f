"""A platform with all features, run as a separate process: for the kill campaign and the soak test."""
