"""Changes of the tables of a PostgreSQL database: what is there first, then each change, by logical replication."""
