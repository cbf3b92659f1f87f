"""A platform with everything in it, run as its own process: what the kill campaign and the soak work on."""
