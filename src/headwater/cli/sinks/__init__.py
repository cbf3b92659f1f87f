"""The verbs of `headwater sinks`."""
