"""The package that `headwater connectors new` creates, and the code of each kind of connector in it."""
