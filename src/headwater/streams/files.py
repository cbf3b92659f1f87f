"""Reading declarations of streams from disk: a directory of one file per stream, or one legacy file of many."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from headwater.declaration import Declaration, KeyPath, read_declaration
from headwater.errors import ConfigInvalid
from headwater.streams import matching as legacy
from headwater.streams import stream_file
from headwater.streams import stream_format as shape
from headwater.streams.layers import Entry, Layer, StreamLayers, When
from headwater.streams.legacy_file import read_legacy

DEFAULTS_FILE = "defaults.yaml"
FAMILIES_DIRECTORY = "families"
SERVICES_FILE = "services.yaml"
OWNERS_FILE = "owners.yaml"
SITES_FILE = "sites.yaml"
# What the legacy format has and stream files lack, such as the order of entries.
LEGACY_FILE = "legacy.yaml"
# In the same directory, but not about streams (streams.md, section 7.1).
_OTHER_FILES = (SERVICES_FILE, "clusters.yaml", OWNERS_FILE, SITES_FILE, LEGACY_FILE)
_EXTENSIONS = (".yaml", ".yml", ".json")


Refused = Callable[[ConfigInvalid], None]


def read_layers(path: Path, defaults: Mapping[str, Any] | None = None, refused: Refused | None = None) -> StreamLayers:
    """Every stream and family declared at `path`: single files by name, families last. Raises ConfigInvalid.

    `defaults` has the structure of a `defaults.yaml`, and the directory's own defaults override it. With `refused`, a
    file that cannot be read is passed to it and left out.
    """
    under: tuple[Layer, ...] = (Layer("given defaults", dict(defaults)),) if defaults else ()
    if path.is_file():
        return StreamLayers.of_entries(_read_file(path, path.parent), under)
    if not path.is_dir():
        raise ConfigInvalid(
            "there are no streams in this directory.", file=str(path), hint="Run `headwater init`, or set streams."
        )
    if (path / DEFAULTS_FILE).exists():
        declaration = read_declaration(path / DEFAULTS_FILE)
        if declaration.value is not None:
            shape.check_defaults(declaration)
            under += tuple(_layers(declaration, DEFAULTS_FILE))
    entries = list(_read_files(_files(path), path, refused))
    return StreamLayers.of_entries(_in_order(entries, path), under, read_groups(path), refused)


def _read_files(files: Iterable[Path], directory: Path, refused: Refused | None) -> Iterator[Entry]:
    for file in files:
        try:
            yield from _read_file(file, directory)
        except ConfigInvalid as error:
            if refused is None:
                raise
            refused(error)


def read_groups(directory: Path) -> dict[str, tuple[str, ...]]:
    """The sites of each group in `sites.yaml`; none where there is no such file. Raises ConfigInvalid."""
    if not (directory / SITES_FILE).exists():
        return {}
    declaration = read_declaration(directory / SITES_FILE)
    tree = _mapping_at(declaration, (), declaration.value or {})
    declaration.refuse_unknown_keys((), tree, ("groups",))
    groups = _mapping_at(declaration, ("groups",), tree.get("groups") or {})
    for name, sites in groups.items():
        if not isinstance(sites, list) or not all(isinstance(site, str) for site in sites):
            raise declaration.refusal(("groups", name), f"the group {name} must be a list of sites.")
    return {name: tuple(sites) for name, sites in groups.items()}


def read_names(file: Path) -> dict[str, int | None] | None:
    """The names a file such as `services.yaml` declares, and their lines; None where there is no such file.

    The names are the keys of the file, or the items where it is a list. Raises ConfigInvalid.
    """
    if not file.exists():
        return None
    declaration = read_declaration(file)
    value = declaration.value or {}
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return {item: declaration.line((index,)) for index, item in enumerate(value)}
    return {name: declaration.line((name,)) for name in _mapping_at(declaration, (), value)}


def _in_order(entries: list[Entry], directory: Path) -> list[Entry]:
    """In the `order` of legacy.yaml, if there is one; entries that it does not name come last."""
    if not (directory / LEGACY_FILE).exists():
        return entries
    notes = read_declaration(directory / LEGACY_FILE).value
    order = notes.get("order") if isinstance(notes, dict) else None
    places = {name: place for place, name in enumerate(order)} if isinstance(order, list) else {}
    return sorted(entries, key=lambda entry: places.get(entry.name, len(places)))


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


def _read_file(file: Path, directory: Path) -> Iterator[Entry]:
    declaration = read_declaration(file)
    if isinstance(declaration.value, dict) and "streams" in declaration.value:
        yield from read_legacy(declaration)
        return
    shape.check(declaration)
    _check_name(declaration, file, in_families=FAMILIES_DIRECTORY in file.relative_to(directory).parts)
    layers = tuple(_layers(declaration, file.name))
    yield Entry(declaration.value["stream"], layers, declaration.file, declaration.line(("stream",)))


def _layers(declaration: Declaration, name: str) -> Iterator[Layer]:
    """The file itself, then each of its overrides."""
    document = {key: value for key, value in declaration.value.items() if key != "overrides"}
    yield Layer(name, document, file=declaration.file, line=declaration.line(()), lines=declaration.lines)
    for index, override in enumerate(declaration.value.get("overrides", ())):
        at: KeyPath = ("overrides", index)
        inside = (*at, "set")
        lines = {path[3:]: line for path, line in declaration.lines.items() if path[:3] == inside}
        yield Layer(
            f"override {index + 1} of {name}",
            override.get("set", {}),
            tuple(override.get("unset", ())),
            When.read(override["when"]),
            file=declaration.file,
            line=declaration.line(at),
            lines=lines,
        )


def _mapping_at(declaration: Declaration, path: KeyPath, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise declaration.refusal(path, f"{path[-1] if path else 'the file'} must be a mapping.")
    return value


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
        raise declaration.refusal(("stream",), "a family of streams belongs in a directory of its own.", hint=hint)
    elif stream_file.NAME.match(name) is None:
        message = f'"{name}" is not a valid stream name: use letters, digits, ".", "-" and "_", at most 200 characters.'
        raise declaration.refusal(("stream",), message)
    elif name != file.stem:
        hint = f'Rename the file to "{name}{file.suffix}", or the stream.'
        raise declaration.refusal(("stream",), f'the file is named "{file.stem}", the stream "{name}".', hint=hint)
