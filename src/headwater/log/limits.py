"""What an embedded log has room for, known before there is one."""

from __future__ import annotations

TOPIC_NAME_CHARS_MAX = 249
PARTITIONS_MAX = 4096
# As many milliseconds, and bytes, as fit into a signed 64-bit integer.
RETENTION_SECONDS_MAX = (2**63 - 1) // 1000
RETENTION_BYTES_MAX = 2**63 - 1
