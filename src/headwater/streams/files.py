"""Reading declarations of streams from disk: a directory of one file per stream, or one legacy file of many."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from headwater.declaration import Declaration, KeyPath, read_declaration
from headwater.errors import ConfigInvalid
from headwater.streams import legacy, stream_file
from headwater.streams.stream import Stream

DEFAULTS_FILE = "defaults.yaml"
FAMILIES_DIRECTORY = "families"
# Beside the streams, but about something else (streams.md, section 7.1).
_OTHER_FILES = ("services.yaml", "clusters.yaml", "owners.yaml", "sites.yaml")
_EXTENSIONS = (".yaml", ".yml", ".json")
# The last three are notes that converters leave in a file of many.
_LEGACY_KEYS = ("default_settings", "streams", "format", "stream_count", "list_style_entries")


def read_streams(path: Path, defaults: Mapping[str, Any] | None = None) -> Iterator[Stream]:
    """Every stream and family declared at `path`: single files by name, families last. Raises ConfigInvalid."""
    if path.is_file():
        yield from _read_file(path, dict(defaults or {}), path.parent)
        return
    if not path.is_dir():
        raise ConfigInvalid("there are no streams here.", file=str(path), hint="Run `headwater init`, or set streams.")
    merged = dict(defaults or {})
    if (path / DEFAULTS_FILE).exists():
        declaration = read_declaration(path / DEFAULTS_FILE)
        if declaration.value is not None:
            stream_file.check_defaults(declaration)
            merged = stream_file.lay_over(merged, declaration.value)
    for file in _files(path):
        yield from _read_file(file, merged, path)


def _files(directory: Path) -> list[Path]:
    """The stream files, at any depth; those of families after all others, since exact names come first anyway."""
    files = [
        file
        for file in directory.rglob("*")
        if file.suffix in _EXTENSIONS
        and not any(part.startswith(".") for part in file.relative_to(directory).parts)
        and not (file.parent == directory and file.name in (DEFAULTS_FILE, *_OTHER_FILES))
    ]
    return sorted(files, key=lambda file: (FAMILIES_DIRECTORY in file.relative_to(directory).parts, file.as_posix()))


def _read_file(file: Path, defaults: dict[str, Any], directory: Path) -> Iterator[Stream]:
    declaration = read_declaration(file)
    if isinstance(declaration.value, dict) and "streams" in declaration.value:
        yield from _streams_of_legacy(declaration)
        return
    stream_file.check(declaration)
    _check_name(declaration, file, in_families=FAMILIES_DIRECTORY in file.relative_to(directory).parts)
    document = stream_file.lay_over(defaults, declaration.value)
    if "schema_title" not in document:
        raise declaration.refusal(
            (), '"schema_title" is missing.', hint="Say the title of the schemas its events have."
        )
    stream = stream_file.stream_of(document, declaration.file, declaration.line(("stream",)))
    if stream.compact and not stream.message_key_fields:
        path = ("transport", "compact")
        raise declaration.refusal(path, "a compacted stream needs transport.message_key_fields.")
    yield stream


def _check_name(declaration: Declaration, file: Path, *, in_families: bool) -> None:
    if "stream" not in declaration.value:
        raise declaration.refusal((), '"stream" is missing.', hint=f'Write "stream: {file.stem}".')
    name = declaration.value["stream"]
    if in_families:
        if not legacy.is_family(name):
            raise declaration.refusal(("stream",), "a family's name is a regex between slashes, such as /^jobs\\..+/.")
        complaint = legacy.check_entry(name, {})
        if complaint:
            raise declaration.refusal(("stream",), complaint[1])
    elif legacy.is_family(name):
        hint = f"Move the file to {FAMILIES_DIRECTORY}/."
        raise declaration.refusal(("stream",), "a family of streams stands in a directory of its own.", hint=hint)
    elif stream_file.NAME.match(name) is None:
        message = f'"{name}" is no name for a stream: use letters, digits, ".", "-" and "_", at most 200.'
        raise declaration.refusal(("stream",), message)
    elif name != file.stem:
        hint = f'Rename the file to "{name}{file.suffix}", or the stream.'
        raise declaration.refusal(("stream",), f'the file is named "{file.stem}", the stream "{name}".', hint=hint)


def _streams_of_legacy(declaration: Declaration) -> Iterator[Stream]:
    tree = declaration.value
    declaration.refuse_unknown_keys((), tree, _LEGACY_KEYS)
    defaults = _mapping(declaration, ("default_settings",), tree.get("default_settings") or {})
    entries = tree["streams"] or {}
    pairs = (
        list(enumerate(entries))
        if isinstance(entries, list)
        else list(_mapping(declaration, ("streams",), entries).items())
    )
    seen: dict[str, int | None] = {}
    for key, written in pairs:
        path: KeyPath = ("streams", key)
        settings = _mapping(declaration, path, {} if written is None else written)
        name = _entry_name(declaration, path, settings)
        line = declaration.line(path)
        if name in seen:
            message = f'the stream "{name}" is already declared in {declaration.file}:{seen[name]}.'
            raise declaration.refusal(path, message, hint="Remove one of the two.")
        seen[name] = line
        merged = legacy.merge(defaults, settings)
        if "stream" in merged:
            merged["stream"] = name  # the key wins over an inner `stream`, in the place where that stands
        yield _legacy_stream(declaration, path, name, merged)


def _entry_name(declaration: Declaration, path: KeyPath, settings: Mapping[str, Any]) -> str:
    """The key; for a list-style entry (a number for a key) its inner `stream`, where it has one."""
    key = path[-1]
    name = settings.get("stream", str(key)) if isinstance(key, int) or key.isdecimal() else key
    if not isinstance(name, str):
        raise declaration.refusal((*path, "stream"), "the name of a stream must be text.")
    return name


def _legacy_stream(declaration: Declaration, path: KeyPath, name: str, settings: dict[str, Any]) -> Stream:
    complaint = legacy.check_entry(name, settings)
    if complaint:
        raise declaration.refusal((*path, *complaint[0]), complaint[1])

    def of_type(key: str, kind: type | tuple[type, ...], in_words: str) -> Any:
        value = settings.get(key)
        if value is not None and not isinstance(value, kind):
            raise declaration.refusal((*path, key), f"{key} of {name} must be {in_words}.")
        return value

    key_fields = of_type("message_key_fields", dict, "a mapping of name to dotted path")
    if key_fields and not all(isinstance(field, str) for field in key_fields.values()):
        raise declaration.refusal((*path, "message_key_fields"), "message_key_fields takes dotted paths.")
    topics = legacy.topics(name, settings)
    return Stream(
        name=name,
        schema_title=of_type("schema_title", str, "text"),
        topic_prefixes=_texts(settings.get("topic_prefixes")),
        topics=_texts(topics),
        message_key_fields=key_fields or None,
        destination_event_service=of_type("destination_event_service", str, "text"),
        canary_events_enabled=bool(settings.get("canary_events_enabled", False)),
        headers=_legacy_headers(settings),
        sample=of_type("sample", dict, "a mapping"),
        settings=settings,
        file=declaration.file,
        line=declaration.line(path),
    )


def _legacy_headers(settings: Mapping[str, Any]) -> dict[str, str | None]:
    found: Any = settings
    for key in ("producers", "eventgate", "enrich_fields_from_http_headers"):
        found = found.get(key) if isinstance(found, dict) else None
    return stream_file.request_headers(found) if isinstance(found, dict) else {}


def _texts(written: Any) -> tuple[str, ...]:
    return tuple(str(item) for item in (written.values() if isinstance(written, dict) else written or ()))


def _mapping(declaration: Declaration, path: KeyPath, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise declaration.refusal(path, f"{path[-1]} must be a mapping.")
    return value
