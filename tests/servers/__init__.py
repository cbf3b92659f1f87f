"""Real servers for the tests: fetched as packages, run on loopback ports, ended for certain."""
