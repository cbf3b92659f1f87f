"""The verbs of `headwater sources`, one module each."""
