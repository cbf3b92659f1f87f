"""The Iceberg sink: tables of any catalog that PyIceberg knows."""
