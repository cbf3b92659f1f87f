"""Types of Flink with text in place of moments, in which rows are given to Python.

How this works: Flink's Python holds the seconds of a moment in 32 bits, and fails at a fraction of a second before
1970; so it would misread what lies after the year 2038. In SQL, moments become texts of UTC, which have no such limits.
"""

from __future__ import annotations

from pyflink.table.types import (
    ArrayType,
    DataType,
    LocalZonedTimestampType,
    MapType,
    RowType,
    TimestampType,
    _to_java_data_type,
)

from headwater.schemas.types.words import back_quoted


def with_text_for_times(kind: DataType) -> str | None:
    """The type in SQL's words, with STRING for each moment in it; None if there is none."""
    if isinstance(kind, TimestampType | LocalZonedTimestampType):
        return "STRING"
    if isinstance(kind, ArrayType):
        item = with_text_for_times(kind.element_type)
        return None if item is None else f"ARRAY<{item}>"
    if isinstance(kind, MapType):
        value = with_text_for_times(kind.value_type)
        return None if value is None else f"MAP<{_words(kind.key_type)}, {value}>"
    if isinstance(kind, RowType):
        made = {field.name: with_text_for_times(field.data_type) for field in kind.fields}
        if not any(made.values()):
            return None
        listed = (f"{back_quoted(one.name)} {made[one.name] or _words(one.data_type)}" for one in kind.fields)
        return f"ROW<{', '.join(listed)}>"
    return None


def _words(kind: DataType) -> str:
    written: str = _to_java_data_type(kind).getLogicalType().asSerializableString()
    return written
