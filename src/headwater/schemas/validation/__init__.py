"""Whether an event is what its schema says: the compiled schema, what an event breaks, and the defaults it is given."""
