"""The shipped test kit: contract suites, the oracle log, fault injectors. May import anything; nothing imports it."""
