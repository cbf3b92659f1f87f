"""`headwater log`: one file per verb."""
