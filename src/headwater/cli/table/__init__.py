"""`headwater table`: materialized tables."""
