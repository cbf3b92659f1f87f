"""The record batch: how the records of one commit become one checksummed, compressed row, and come back.

How this works: the records of one topic partition in one commit are stored as columns (values, keys, headers, gaps,
times), packed with MessagePack and, if it saves enough, compressed with zstd. Redundant columns are left out: without
compaction offsets are contiguous and one commit has one time of receipt. The checksum covers the packed bytes *and*
every header field, and the header includes where the batch belongs, so a batch whose row was damaged, or which is
found in another place, is recognised. Partitioning by key is Kafka's murmur2, so that in a project moved to Kafka each
key is in the same partition.
"""

from __future__ import annotations

import struct
import zlib
from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import msgspec
import zstandard

from headwater.log.contract import StoredRecord

CODEC_RAW = 0
CODEC_ZSTD = 1
COMPRESS_BYTES_MIN = 256
BATCH_RECORDS_MAX = 4_096
REMEMBERED_KEY_BYTES_MAX = 128
_HEADER = struct.Struct("<6q")

Headers = tuple[tuple[str, bytes], ...]


class Columns(msgspec.Struct, array_like=True):
    """The content of a batch. None for a column: every key None, no headers, no gaps, all at the first time."""

    values: list[bytes]
    keys: list[bytes | None] | None = None
    headers: list[Headers] | None = None
    offset_deltas: list[int] | None = None
    timestamp_deltas: list[int] | None = None


class BatchHeader(NamedTuple):
    """What is known of a batch without unpacking it. `place` is the row's id: partition and base offset in one.

    It covers the offsets from its base to `last_offset`, also those which compaction has emptied.
    """

    place: int
    last_offset: int
    records: int
    first_ms: int
    last_ms: int
    codec: int


class Batch(NamedTuple):
    """A decoded batch, shared between readers."""

    base_offset: int
    last_offset: int
    records: Sequence[StoredRecord]
    bytes_total: int

    def index_of(self, offset: int) -> int:
        """Index of the first record at or after `offset`."""
        records = self.records
        if len(records) == self.last_offset - self.base_offset + 1:
            return max(0, offset - self.base_offset)
        return bisect_left(records, offset, key=_offset_of)


class BatchDamaged(Exception):
    """The row is not what was written. Translated to LogCorrupt where topic, partition and offsets are known."""


def _offset_of(record: StoredRecord) -> int:
    return record.offset


class BatchCodec:
    """Packs and unpacks batches. Not thread-safe: each thread has its own (compression contexts are reused)."""

    def __init__(self, *, level: int = 1) -> None:
        self._packer = msgspec.msgpack.Encoder()
        self._unpacker = msgspec.msgpack.Decoder(Columns)
        self._compressor = zstandard.ZstdCompressor(level=level, write_checksum=False)
        self._decompressor = zstandard.ZstdDecompressor()

    def pack(self, columns: Columns) -> tuple[int, bytes]:
        """(codec, bytes) of the columns; compressed unless that saves less than an eighth."""
        packed = self._packer.encode(columns)
        if len(packed) >= COMPRESS_BYTES_MIN:
            compressed = self._compressor.compress(packed)
            if len(compressed) < len(packed) - len(packed) // 8:
                return CODEC_ZSTD, compressed
        return CODEC_RAW, packed

    def unpack(self, header: BatchHeader, crc: int, data: bytes) -> Columns:
        """The columns. Raises BatchDamaged."""
        if type(data) is not bytes or checksum(header, data) != crc:
            raise BatchDamaged("its checksum does not match")
        try:
            packed = self._decompressor.decompress(data) if header.codec == CODEC_ZSTD else data
            columns = self._unpacker.decode(packed)
        except (zstandard.ZstdError, msgspec.DecodeError, UnicodeDecodeError, MemoryError) as error:
            raise BatchDamaged(f"it cannot be unpacked: {error}") from error
        if len(columns.values) != header.records:
            raise BatchDamaged(f"it holds {len(columns.values)} records, not {header.records}")
        beside = (columns.keys, columns.headers, columns.offset_deltas, columns.timestamp_deltas)
        if any(column is not None and len(column) != header.records for column in beside):
            raise BatchDamaged(f"its columns do not all have values for its {header.records} records")
        return columns


def checksum(header: BatchHeader, data: bytes) -> int:
    """CRC-32 of a batch and its header."""
    return zlib.crc32(_HEADER.pack(*header), zlib.crc32(data))


def decode_batch(topic: str, partition: int, base_offset: int, header: BatchHeader, columns: Columns) -> Batch:
    """The records of a batch, as readers are given them."""
    values = columns.values
    keys = columns.keys
    headers = columns.headers
    total = sum(map(len, values))
    if keys is None and headers is None and columns.offset_deltas is None and columns.timestamp_deltas is None:
        first_ms = header.first_ms
        records = [
            StoredRecord(topic, partition, offset, first_ms, None, (), value)
            for offset, value in enumerate(values, base_offset)
        ]
        return Batch(base_offset, header.last_offset, records, total)
    count = len(values)
    records = [
        StoredRecord(topic, partition, base_offset + gap, header.first_ms + later, key, own, value)
        for value, key, own, gap, later in zip(
            values,
            keys if keys is not None else (None,) * count,
            headers if headers is not None else ((),) * count,
            columns.offset_deltas if columns.offset_deltas is not None else range(count),
            columns.timestamp_deltas if columns.timestamp_deltas is not None else (0,) * count,
            strict=True,
        )
    ]
    if keys is not None:
        total += sum(len(key) for key in keys if key)
    if headers is not None:
        total += sum(len(name) + len(value) for own in headers for name, value in own)
    return Batch(base_offset, header.last_offset, records, total)


def columns_of(records: Sequence[StoredRecord], base_offset: int, first_ms: int) -> Columns:
    """The columns of records with gaps between them, as compaction leaves them."""
    keys = [record.key for record in records]
    headers = [record.headers for record in records]
    return Columns(
        values=[record.value for record in records],
        keys=keys if any(key is not None for key in keys) else None,
        headers=headers if any(headers) else None,
        offset_deltas=[record.offset - base_offset for record in records],
        timestamp_deltas=[record.timestamp_ms - first_ms for record in records],
    )


def partition_of_key(key: bytes, partitions: int) -> int:
    """Kafka's default: murmur2 of the key, sign bit dropped, modulo the number of partitions."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions


# For keys of at most `REMEMBERED_KEY_BYTES_MAX`: they come from events, and may be as long as one.
remembered_partition_of_key = lru_cache(maxsize=65_536)(partition_of_key)


def murmur2(data: bytes) -> int:
    """The 32-bit murmur2 hash with Kafka's seed, unsigned."""
    length = len(data)
    mask = 0xFFFFFFFF
    multiplier = 0x5BD1E995
    value = (0x9747B28C ^ length) & mask
    whole = length & ~3
    for (word,) in struct.iter_unpack("<I", data[:whole]):
        mixed = (word * multiplier) & mask
        mixed ^= mixed >> 24
        value = ((value * multiplier) & mask) ^ ((mixed * multiplier) & mask)
    rest = data[whole:]
    if rest:
        value ^= int.from_bytes(rest, "little")
        value = (value * multiplier) & mask
    value ^= value >> 13
    value = (value * multiplier) & mask
    return value ^ (value >> 15)
