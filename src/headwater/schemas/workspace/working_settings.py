"""The settings of a schema repository, read unchanged from its `.jsonschema-tools.yaml`.

Every key of the original (contracts/schemas.md §2.1) is supported. Settings of Headwater only are under the one key
`headwater`, which the original ignores: pinned copies of other repositories, whether `$ref` may go over HTTP, and the
policy about the rules.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from headwater.declaration import suggestion
from headwater.errors import ConfigInvalid, SchemaInvalid
from headwater.patterns import compiled
from headwater.schemas.document import parse_document
from headwater.schemas.limits import ValidationLimits

SETTINGS_FILE = ".jsonschema-tools.yaml"
# The greatest whole number up to which a double is exact.
NUMBER_MAX = 9_007_199_254_740_991

_CHECKING = ("check_as", "compatibility", "rules", "waivers")

Refuse = Callable[[str], ConfigInvalid]


@dataclass(frozen=True, slots=True)
class PinnedRepository:
    """A copy of another schema repository, with which `$ref`s are resolved without the network.

    `path` holds its schemas (what its `schemaBasePath` names), relative to the settings file. `replaces` is the entry
    of `schemaBaseUris` that it replaces, or None. With `commit`, `path` is in a Git repository and is read as of that
    commit; `sha256` is the hash of its content (`content_hash`), checked before use. An entry may also have an
    `origin`, for people, which nothing reads.
    """

    path: Path
    replaces: str | None = None
    commit: str | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class WorkingSettings:
    """How the schemas of one repository are found and made; the names are those of the original, in our spelling.

    `base_path` is absolute. `base_uris` are as written: paths (relative to the settings file), `file://` or HTTP URLs.
    `numeric_bounds` None disables adding bounds. `skip_test_cases` maps a regular expression over `$id` to the names of
    rules that are not applied to it. `checking` holds `check_as`, `compatibility`, `rules` and `waivers` as written;
    the rules read them.
    """

    base_path: Path
    base_uris: tuple[str, ...] = ()
    content_types: tuple[str, ...] = ("yaml",)
    current_name: str = "current"
    version_field: str = "$id"
    title_field: str = "title"
    dereference: bool = True
    symlink_extensionless: bool = False
    symlink_latest: bool = False
    dry_run: bool = False
    git_staged: bool = False
    git_add: bool = False
    ignore_schemas: tuple[str, ...] = ()
    skip_test_cases: Mapping[str, tuple[str, ...]] | None = None
    log_level: str = "warn"
    numeric_bounds: tuple[float, float] | None = (-NUMBER_MAX, NUMBER_MAX)
    generate_example: bool = False
    pinned: tuple[PinnedRepository, ...] = ()
    online: bool = False
    checking: Mapping[str, Any] | None = None

    @property
    def current_file(self) -> str:
        """The name of the file an author edits, with its extension."""
        return self.current_name if "." in self.current_name else f"{self.current_name}.{self.content_types[0]}"

    def is_ignored(self, identifier: str) -> bool:
        """Whether `ignoreSchemas` hides the schema with this `$id`."""
        return any(compiled(pattern).search(identifier) for pattern in self.ignore_schemas)

    def skipped_cases(self, identifier: str) -> frozenset[str]:
        """The rule names `skipSchemaTestCases` exempts this `$id` from (unanchored search, as in the original)."""
        skips = self.skip_test_cases or {}
        return frozenset(
            name for pattern, names in skips.items() if compiled(pattern).search(identifier) for name in names
        )


# key of the file → field here, and the form of its value
_KEYS: dict[str, tuple[str, str]] = {
    "shouldSymlinkExtensionless": ("symlink_extensionless", "bool"),
    "shouldSymlinkLatest": ("symlink_latest", "bool"),
    "contentTypes": ("content_types", "types"),
    "currentName": ("current_name", "text"),
    "schemaVersionField": ("version_field", "text"),
    "schemaTitleField": ("title_field", "text"),
    "shouldDereference": ("dereference", "bool"),
    "schemaBasePath": ("base_path", "path"),
    "schemaBaseUris": ("base_uris", "texts"),
    "dryRun": ("dry_run", "bool"),
    "gitStaged": ("git_staged", "bool"),
    "shouldGitAdd": ("git_add", "bool"),
    "ignoreSchemas": ("ignore_schemas", "patterns"),
    "skipSchemaTestCases": ("skip_test_cases", "skips"),
    "logLevel": ("log_level", "text"),
    "enforcedNumericBounds": ("numeric_bounds", "bounds"),
    "shouldGenerateExample": ("generate_example", "bool"),
}
# The original's defaults for a settings file; without any settings file our own defaults apply.
_ORIGINAL_DEFAULTS: dict[str, Any] = {
    "symlink_extensionless": True,
    "symlink_latest": True,
    "content_types": ("yaml", "json"),
    "git_add": True,
}


def original_settings(root: Path) -> WorkingSettings:
    """The original's defaults in `root`: both content types, and links."""
    return WorkingSettings(base_path=root, **_ORIGINAL_DEFAULTS)


def read_settings(files: Sequence[Path], *, root: Path) -> WorkingSettings:
    """The settings in `files`, later ones win key by key; absent files are skipped.

    Raises ConfigInvalid for a file that cannot be read and for a value of the wrong kind; unknown keys are ignored, as
    the original ignores them.
    """
    settings = original_settings(root)
    for file in files:
        try:
            data = file.read_bytes()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise ConfigInvalid(f"The settings cannot be read: {error.strerror}.", file=str(file)) from None
        try:
            values = parse_document(data, str(file), ValidationLimits())
        except SchemaInvalid as error:
            message = f"The settings cannot be read: {error.detail}"
            raise ConfigInvalid(message, file=str(file), line=error.line, hint=error.hint) from None
        if values is None:
            continue
        if not isinstance(values, dict):
            raise ConfigInvalid("The settings are not a mapping of keys to values.", file=str(file))
        settings = with_values(settings, values, root=root, file=str(file))
    return settings


def with_values(
    settings: WorkingSettings, values: Mapping[str, Any], *, root: Path, file: str = "options"
) -> WorkingSettings:
    """`settings` with the given keys (the original's spelling) replaced. Raises ConfigInvalid."""
    changes: dict[str, Any] = {}
    for key, value in values.items():
        if key in _KEYS:
            field, kind = _KEYS[key]
            changes[field] = _converted(key, value, kind, root=root, file=file)
    own = values.get("headwater")
    if isinstance(own, dict):
        changes |= _own_values(own, root=root, file=file)
    return replace(settings, **changes)


def _own_values(own: Mapping[str, Any], *, root: Path, file: str) -> dict[str, Any]:
    for key in own:
        if key not in ("online", "repositories", *_CHECKING):
            known = ("online", "repositories", *_CHECKING)
            raise ConfigInvalid(f"`headwater.{key}` is not a setting.", file=file, hint=suggestion(key, known))
    online = own.get("online", False)
    entries = own.get("repositories") or []
    if not isinstance(online, bool):
        raise ConfigInvalid("`headwater.online` is neither true nor false.", file=file)
    if not isinstance(entries, list):
        raise ConfigInvalid("`headwater.repositories` is not a list.", file=file)
    checking = {key: own[key] for key in _CHECKING if key in own}
    pinned = tuple(_pinned(entry, root, file) for entry in entries)
    return {"online": online, "pinned": pinned, "checking": checking or None}


def _pinned(entry: Any, root: Path, file: str) -> PinnedRepository:
    known = {"path", "replaces", "commit", "sha256", "origin"}
    if not isinstance(entry, dict) or not isinstance(entry.get("path"), str) or set(entry) - known:
        raise ConfigInvalid(
            "An entry of `headwater.repositories` is invalid.",
            file=file,
            hint="Give `path`, and any of `replaces`, `commit`, `sha256` and `origin`.",
        )
    if not all(isinstance(value, str) for value in entry.values()):
        raise ConfigInvalid("Every value in `headwater.repositories` must be text; quote it.", file=file)
    return PinnedRepository(
        root / entry["path"], entry.get("replaces"), entry.get("commit"), entry.get("sha256", "").lower() or None
    )


def _converted(key: str, value: Any, kind: str, *, root: Path, file: str) -> Any:
    def refuse(wanted: str) -> ConfigInvalid:
        return ConfigInvalid(f"`{key}` is {value!r}, which is not {wanted}.", file=file)

    match kind:
        case "bool" if not isinstance(value, bool):
            raise refuse("true or false")
        case "text" | "path" if not isinstance(value, str) or not value:
            raise refuse("text")
        case "bool" | "text":
            return value
        case "path":
            return (root / value).resolve()
        case "bounds":
            return _bounds(value, refuse)
        case "skips":
            return _skips(value, refuse)
    return _texts(value, kind, refuse)


def _texts(value: Any, kind: str, refuse: Refuse) -> tuple[str, ...]:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(one, str) for one in values):
        raise refuse("a list of texts")
    if kind == "types" and (not values or set(values) - {"yaml", "json"}):
        raise refuse("a list of `yaml` and `json`")
    if kind == "patterns":
        _check_patterns(values, refuse)
    return tuple(dict.fromkeys(values))


def _bounds(value: Any, refuse: Refuse) -> tuple[float, float] | None:
    if value is False or value is None:
        return None
    pair = isinstance(value, list) and len(value) == 2
    if not pair or not all(isinstance(one, int | float) and not isinstance(one, bool) for one in value):
        raise refuse("two numbers or false")
    return (value[0], value[1])


def _skips(value: Any, refuse: Refuse) -> dict[str, tuple[str, ...]]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(
        isinstance(names, list) and all(isinstance(name, str) for name in names) for names in value.values()
    ):
        raise refuse("a mapping of expressions to lists of rule names")
    _check_patterns(value, refuse)
    return {pattern: tuple(names) for pattern, names in value.items()}


def _check_patterns(patterns: Iterable[str], refuse: Refuse) -> None:
    for pattern in patterns:
        try:
            compiled(pattern)
        except re.error as error:
            raise refuse(f"a list of regular expressions ({pattern!r}: {error})") from None
