"""SQL over streams, tables and files, by DuckDB."""
