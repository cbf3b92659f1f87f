"""`headwater streams`: one file per verb."""
