"""The record batch gives back what it was given, or says that it is damaged."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.log.contract import StoredRecord
from headwater.log.record_batch import (
    CODEC_RAW,
    CODEC_ZSTD,
    BatchCodec,
    BatchDamaged,
    BatchHeader,
    Columns,
    checksum,
    columns_of,
    decode_batch,
    murmur2,
    partition_of_key,
)

stored = st.builds(
    StoredRecord,
    topic=st.just("a"),
    partition=st.just(3),
    offset=st.just(0),
    timestamp_ms=st.integers(1_000, 2_000),
    key=st.none() | st.binary(max_size=20),
    headers=st.lists(st.tuples(st.text(max_size=8), st.binary(max_size=8)), max_size=3).map(tuple),
    value=st.binary(max_size=600),
)


def packed(records: list[StoredRecord]) -> tuple[BatchHeader, int, bytes]:
    codec, data = BatchCodec().pack(columns_of(records, records[0].offset, 1_000))
    header = BatchHeader(records[0].offset, records[-1].offset, len(records), 1_000, 2_000, codec)
    return header, checksum(header, data), data


@given(st.lists(st.tuples(stored, st.integers(1, 5)), min_size=1, max_size=20))
def test_records_with_gaps_come_back_as_they_were(given_records: list[tuple[StoredRecord, int]]) -> None:
    offset, records = 0, []
    for record, step in given_records:
        offset += step
        records.append(StoredRecord("a", 3, offset, record.timestamp_ms, record.key, record.headers, record.value))
    header, crc, data = packed(records)
    batch = decode_batch("a", 3, records[0].offset, header, BatchCodec().unpack(header, crc, data))
    assert list(batch.records) == records
    for wanted in range(records[0].offset, offset + 1):
        following = [r.offset for r in records if r.offset >= wanted]
        assert batch.records[batch.index_of(wanted)].offset == following[0]


def test_text_that_repeats_is_compressed_and_noise_is_not() -> None:
    codec = BatchCodec()
    assert codec.pack(Columns([b"the same words " * 100]))[0] == CODEC_ZSTD
    assert codec.pack(Columns([bytes(range(256))]))[0] == CODEC_RAW
    assert codec.pack(Columns([b"short"]))[0] == CODEC_RAW


@given(st.data())
def test_no_flipped_bit_goes_unnoticed(data: st.DataObject) -> None:
    records = [StoredRecord("a", 0, n, 1_000, b"k", (("dt", b"x"),), b"some text, %d" % n * 20) for n in range(5)]
    header, crc, content = packed(records)
    position = data.draw(st.integers(0, len(content) * 8 - 1))
    flipped = bytearray(content)
    flipped[position // 8] ^= 1 << (position % 8)
    with pytest.raises(BatchDamaged):
        BatchCodec().unpack(header, crc, bytes(flipped))


@pytest.mark.parametrize("field", BatchHeader._fields)
def test_no_changed_header_field_goes_unnoticed(field: str) -> None:
    header, crc, content = packed([StoredRecord("a", 0, 7, 1_000, None, (), b"value")])
    for bit in range(8 if field == "codec" else 62):
        changed = header._replace(**{field: getattr(header, field) ^ (1 << bit)})
        with pytest.raises(BatchDamaged):
            BatchCodec().unpack(changed, crc, content)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        # Apache Kafka, UtilsTest.testMurmur2.
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_the_key_hash_is_kafkas(key: bytes, expected: int) -> None:
    assert murmur2(key) == expected & 0xFFFFFFFF
    assert partition_of_key(key, 7) == (expected & 0x7FFFFFFF) % 7
