"""The suites of the contracts: an implementation's test is a subclass with a fixture that makes it."""
