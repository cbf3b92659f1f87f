"""`headwater schema`: one file per verb."""
