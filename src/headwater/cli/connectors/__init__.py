"""`headwater connectors`: one file per verb."""
