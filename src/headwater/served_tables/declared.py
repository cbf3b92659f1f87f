"""The files of the tables that a project serves: each says what a request may ask for, and how much it may read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from headwater.access.api_keys import ROLE, is_role
from headwater.config import Config
from headwater.declaration import Declaration, KeyPath, read_declaration, suggestion
from headwater.errors import ConfigInvalid
from headwater.jobs.job import Job
from headwater.jobs.place import Place, relative_file
from headwater.jobs.tables.materialized import MaterializedTable
from headwater.options import read_section
from headwater.served_tables.kinds import Kind
from headwater.settings import setting

FILES = ("*.yaml", "*.yml")
# Where all of them are served.
PATH = "/v1/served"
# Parameters of every request; no field that is asked for may have such a name.
AFTER, FIELDS, FORMAT, LIMIT = PARAMETERS = ("after", "fields", "format", "limit")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,79}")
_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,79}")

Refused = Callable[[ConfigInvalid], None]


@dataclass(frozen=True, slots=True)
class ServedOptions:
    """What the file of a served table says."""

    table: str | None = setting(None, "The `@table` whose rows are served; null: the one with the name of the file.")
    summary: str | None = setting(None, "What it is, in the description of the interface; null: as the table says.")
    key: tuple[str, ...] = setting(
        (), "What the parts of the key are called, if a function makes the keys of the table. Others have names."
    )
    fields: Mapping[str, Kind] | tuple[str, ...] | None = setting(
        None,
        "The fields of a row in a response, with those of the key: a list, or a mapping of each to its type: `text`, "
        "`integer`, `number`, `boolean`, `time`, `list`, `mapping` or `any`. Types that are not written are those in "
        "the schemas of the table's streams, where a field has the same name there. null: all fields.",
    )
    equals: tuple[str, ...] | None = setting(
        None, "The fields of which a request may ask for one value; null: the parts of the key."
    )
    ranges: tuple[str, ...] = setting(
        (), "The fields that a request may bound: numbers, text by code points, and times as moments."
    )
    required: tuple[str, ...] = setting(
        (), "The fields in `equals` without which a request is refused. Begin with the first parts of the key."
    )
    bounds_exist: bool = setting(
        False,
        "The bounds of a range must be rows: others are refused. The last part of the key is in `ranges`, the others "
        "are `required`.",
    )
    order: str | None = setting(
        None,
        "The field that the rows of a response are sorted by, `-` before it for the greatest first; then all rows that "
        "fit are read. null: the order of the JSON of the keys.",
    )
    distinct: Mapping[str, str] = setting(
        {}, "What `counts` has besides the number of rows: a name, and the field of which it counts different values."
    )
    roles: tuple[str, ...] = setting(
        (), "Who may read it: keys with one of these roles (`headwater keys create NAME --scope role:ROLE`)."
    )
    audit: str | None = setting(
        None, "The stream that gets an event of each request with a key; required, and only possible, with `roles`."
    )
    cache_seconds: int = setting(
        0, "How long caches may use a response without asking again.", at_least=0, at_most=86_400
    )
    rows_default: int = setting(100, "How many rows a response has without `limit`.", at_least=1, at_most=10_000)
    rows_max: int = setting(1_000, "The largest `limit`.", at_least=1, at_most=10_000)
    rows_read_max: int = setting(
        10_000, "How many keys one request may read, those that do not fit included.", at_least=1, at_most=1_000_000
    )
    read_seconds_max: float = setting(2.0, "How long one request may read.", at_least=0.01, at_most=60)
    response_bytes_max: int = setting(
        4_194_304, "A response ends after the row that exceeds this.", at_least=1_024, at_most=67_108_864
    )


@dataclass(frozen=True, slots=True)
class ServedTable:
    """A table that is served under `name`. `table` names the parts of its key. `job` keeps it."""

    name: str
    options: ServedOptions
    table: MaterializedTable
    job: Job
    place: Place

    @property
    def path(self) -> str:
        """Where its rows are."""
        return f"{PATH}/{self.name}"

    @property
    def summary(self) -> str:
        return self.options.summary or self.job.summary

    @property
    def key(self) -> tuple[str, ...]:
        return self.table.key_names

    @property
    def is_restricted(self) -> bool:
        """Whether only keys with a role may read it."""
        return bool(self.options.roles)

    @property
    def scopes(self) -> tuple[str, ...]:
        """One of these a key needs for a restricted table."""
        return tuple(f"{ROLE}{role}" for role in self.options.roles)

    @property
    def fields(self) -> tuple[str, ...] | None:
        """The fields of a row in a response, in this order; None for all there are."""
        written = self.options.fields
        return None if written is None else tuple(dict.fromkeys((*self.key, *written)))

    @property
    def equals(self) -> tuple[str, ...]:
        """The fields of which a request may ask for a value."""
        written = self.options.equals
        return tuple(name for name in self.key if name not in PARAMETERS) if written is None else written

    @property
    def sorted_by(self) -> str | None:
        """The field that rows are sorted by; None for the order of the keys."""
        return self.options.order.removeprefix("-") if self.options.order else None

    @property
    def is_descending(self) -> bool:
        return bool(self.options.order and self.options.order.startswith("-"))

    @property
    def rows_default(self) -> int:
        """How many rows a response has without `limit`."""
        return min(self.options.rows_default, self.options.rows_max)

    @property
    def kinds(self) -> Mapping[str, Kind]:
        """The types that the file says."""
        return self.options.fields if isinstance(self.options.fields, Mapping) else {}


def project_tables(config: Config, jobs: Iterable[Job], refused: Refused | None = None) -> Iterator[ServedTable]:
    """The tables that a project with these jobs serves. Raises, and calls `refused`, as `served_tables`."""
    return served_tables(config.path(config.web.served_tables_path), jobs, config.project_dir, refused)


def served_tables(
    directory: Path, jobs: Iterable[Job], project: Path, refused: Refused | None = None
) -> Iterator[ServedTable]:
    """The tables that the files in `directory` serve, by file; none without the directory.

    Raises ConfigInvalid with file and line; if `refused` is given, it is called with each of these errors instead, and
    what is invalid is left out.
    """
    tables = {table.name: (table, job) for job in jobs if (table := job.writes().materialized) is not None}
    seen: dict[str, Path] = {}
    for path in sorted(path for pattern in FILES for path in directory.glob(pattern)):
        try:
            file = relative_file(path, project)
            if (other := seen.setdefault(path.stem.lower(), path)) is not path:
                raise ConfigInvalid(f"There is another served table of this name, in {other.name}.", file=file, line=1)
            yield _declared(path.stem, read_declaration(path, file=file), tables)
        except ConfigInvalid as error:
            if refused is None:
                raise
            refused(error)


def _declared(name: str, source: Declaration, tables: Mapping[str, tuple[MaterializedTable, Job]]) -> ServedTable:
    if not _NAME.fullmatch(name):
        hint = "Use letters, digits, '_' and '-'."
        raise ConfigInvalid(f"{name!r} cannot name a served table.", file=source.file, line=1, hint=hint)
    options = read_section(ServedOptions, {} if source.value is None else source.value, source, ())
    wanted = options.table or name
    if wanted not in tables:
        hint = suggestion(wanted, tables) if tables else "Declare one with @table(source=…, key=…)."
        raise source.refusal(("table",), f"there is no materialized table {wanted!r:.200}.", hint=hint)
    table, job = tables[wanted]
    if table.key_names and options.key:
        raise source.refusal(("key",), f"the parts of the key are called {', '.join(table.key_names)}: leave it out.")
    if not (table.key_names or options.key):
        raise source.refusal(
            (), f"a function makes the keys of {wanted}: name their parts.", hint="Such as `key: [wiki, title]`."
        )
    named = table if table.key_names else table.named(options.key)
    served = ServedTable(name, options, named, job, Place(source.file, 1))
    _check_fields(served, source)
    _check_limits(served, source)
    return served


def _check_fields(served: ServedTable, source: Declaration) -> None:
    """Each field that is named is one of a response, and is named where it has a meaning."""
    options = served.options
    for field in served.fields or served.key:
        if not _FIELD.fullmatch(field):
            at: KeyPath = ("fields",) if field in (options.fields or ()) else ("key",)
            raise source.refusal(at, f"{field!r:.100} cannot name a field.", hint="Use letters, digits and '_'.")
    order = (served.sorted_by,) if served.sorted_by else ()
    asked: Sequence[tuple[KeyPath, Iterable[str], Sequence[str] | None]] = (
        (("equals",), options.equals or (), served.fields),
        (("ranges",), options.ranges, served.fields),
        (("required",), options.required, served.equals),
        (("order",), order, served.fields),
        (("distinct",), options.distinct.values(), served.fields),
    )
    for path, names, known in asked:
        for field in names:
            _check_field(field, path, known, source)
    for field in (*served.equals, *options.ranges):
        if served.kinds.get(field) in ("list", "mapping"):
            raise source.refusal(("fields", field), f"{field} is a {served.kinds[field]}, which cannot be asked for.")
    if options.bounds_exist:
        *others, last = served.key
        if last not in options.ranges or not set(others) <= set(options.required):
            raise source.refusal(
                ("bounds_exist",),
                f"the bounds of a range can only be rows if {last} is in `ranges`, and {', '.join(others)} required.",
            )


def _check_field(field: str, path: KeyPath, known: Sequence[str] | None, source: Declaration) -> None:
    if known is not None and field not in known:
        raise source.refusal(path, f"unknown field {field!r:.100} in {path[0]}.", hint=suggestion(field, known))
    if path[0] in ("equals", "ranges") and (field in PARAMETERS or not _FIELD.fullmatch(field)):
        raise source.refusal(path, f"{field!r:.100} cannot be asked for: a parameter has another meaning.")


def _check_limits(served: ServedTable, source: Declaration) -> None:
    options = served.options
    if "rows_default" in (source.value or {}) and options.rows_default > options.rows_max:
        raise source.refusal(("rows_default",), f"rows_default must be at most rows_max, {options.rows_max}.")
    for role, scope in zip(options.roles, served.scopes, strict=True):
        if not is_role(scope):
            hint = "Use small letters, digits, '_' and '-'."
            raise source.refusal(("roles",), f"{role!r:.100} cannot name a role.", hint=hint)
    if options.roles and not options.audit:
        raise source.refusal(("roles",), "a table for roles needs a stream for its audit.", hint="Such as `audit: …`.")
    if options.audit and not options.roles:
        raise source.refusal(("audit",), "only requests for a table with roles are audited.", hint="Add `roles`.")
