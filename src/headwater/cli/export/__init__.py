"""`headwater export`: one file per verb."""
