"""The example project of tests: a schema `note`, streams of notes, and their events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from headwater.testing.service_kit import write_project

NOTE_URI = "/note/1.0.0"
NOTES: Mapping[str, Any] = {"stream": "notes", "schema_title": "note"}


def note_schema(
    *,
    required: Sequence[str] = ("text",),
    meta_texts: Sequence[str] = ("stream", "id", "dt"),
    **properties: Mapping[str, Any],
) -> dict[str, Any]:
    """The schema of a note: a text, and in `meta` the texts named. `properties` are added, or replace existing ones."""
    return {
        "title": "note",
        "$id": NOTE_URI,
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "required": list(required),
        "properties": {
            "$schema": {"type": "string"},
            "meta": {"type": "object", "properties": {name: {"type": "string"} for name in meta_texts}},
            "text": {"type": "string"},
            **properties,
        },
    }


def note(text: Any = "hello", **meta: Any) -> dict[str, Any]:
    """An event of the stream `notes`; `meta` adds to its `meta`, or names another stream."""
    return {"$schema": NOTE_URI, "meta": {"stream": "notes"} | meta, "text": text}


def write_notes(
    directory: Path, schema: Mapping[str, Any] | None = None, streams: Sequence[Mapping[str, Any]] = (NOTES,)
) -> Path:
    """The files of a project with this schema and these streams; the folder of its schemas."""
    write_project(directory, [note_schema() if schema is None else schema], streams)
    return directory / "schemas"
