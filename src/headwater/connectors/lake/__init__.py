"""Files of events on local disk, S3-compatible stores and HDFS: tables that any tool reads, written exactly once."""
