"""Changes of the tables of a MariaDB server: what is there first, then each change, from its binary log of rows."""
