"""The verbs of `headwater job`."""
