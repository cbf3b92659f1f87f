"""Materialized tables over HTTP: /v1/tables with rows by key and in pages as JSON, /tables for people.

How this works: rows are read from the state of the tables' jobs by `TableReader`, in a thread. A client sees a table if
it may read the events of all streams that the table is made of; any other table does not exist for it.
"""

from __future__ import annotations

import base64
import binascii
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute

from headwater import __version__
from headwater.declaration import suggestion
from headwater.errors import FilterInvalid, JobInvalid, RowUnknown, TableUnknown
from headwater.event import encode_json, json_bytes
from headwater.jobs.job import Job
from headwater.jobs.tables.materialized import TableRow
from headwater.jobs.tables.reader import ROWS_MAX, TablePage, TableReader
from headwater.jobs.tables.written_keys import FoundRow, find_row, written_value
from headwater.platform import Platform
from headwater.web.http.route import Route
from headwater.web.http.threads import in_thread
from headwater.web.pages.page import PAGE_HEADERS, breakable
from headwater.web.sight import seen

ROWS_DEFAULT = 100
# A response ends after the row that exceeds this.
ROWS_BYTES_MAX = 4_194_304
# So many rows are read at a time, as each may be large.
ROWS_AT_ONCE = 50
KEY_CHARS_MAX = 10_000
# Of the page for people.
PAGE_ROWS = 50
COLUMNS_MAX = 30
VALUE_CHARS_MAX = 200
_HOW_TO_KEY = 'A key of several parts is a JSON list: ?key=["enwiki",7], percent-encoded.'


class TablesPages:
    """The endpoints and the pages, over one platform."""

    def __init__(self, platform: Platform, notice: str | None = None) -> None:
        self._platform = platform
        self._notice = notice
        environment = Environment(
            loader=PackageLoader("headwater.web"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
        )
        environment.filters["breakable"] = breakable
        environment.filters["value"] = _shown
        self._list = environment.get_template("tables.html")
        self._one = environment.get_template("table.html")

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/tables", self.list_page, methods=["GET"]),
            Route("/tables/{name}", self.table_page, methods=["GET"]),
            Route("/v1/tables", self.tables, methods=["GET"]),
            Route("/v1/tables/{name}", self.rows, methods=["GET"]),
            Route("/v1/tables/{name}/rows", self.row, methods=["GET"]),
        ]

    async def tables(self, request: Request) -> Response:
        """The tables that the client may read."""
        return _json({"tables": [self._described(job) for job in self._seen(request).values()]})

    async def rows(self, request: Request) -> Response:
        """Rows in order of their keys: `limit` of them, from behind `after` on, with keys that begin with `prefix`."""
        name, reader = self._reader(request)
        limit = _limit(request)
        page = await in_thread(_read, lambda: _some_rows(reader, _prefix(request), _after(request), limit))
        return _json(
            {
                "table": name,
                "rows": [{"key": list(one.key), "row": one.row} for one in page.rows],
                "next": None if page.after is None else _token(page.after),
            }
        )

    async def row(self, request: Request) -> Response:
        """The row of `key`."""
        name, reader = self._reader(request)
        asked = request.query_params.getlist("key")
        if not asked:
            raise FilterInvalid("No key is given.", hint=f"Use ?key=…. {_HOW_TO_KEY}")
        key, row = await in_thread(_read, lambda: _found(reader, asked))
        if row is None:
            raise RowUnknown(f"The table {name} has no row with the key {_text(key)}.", hint=_HOW_TO_KEY)
        return _json({"table": name, "key": list(key) if isinstance(key, list | tuple) else [key], "row": row})

    async def list_page(self, request: Request) -> Response:
        """The tables, for people."""
        tables = [self._described(job) for job in self._seen(request).values()]
        return await self._page(self._list, tables=tables)

    async def table_page(self, request: Request) -> Response:
        """The rows of one table, for people; `key` finds one."""
        name, reader = self._reader(request)
        asked = [one for one in request.query_params.getlist("key") if one]
        page, problem = TablePage([], None), ""
        try:
            page = await in_thread(_read, lambda: _page_rows(reader, asked, _after(request)))
        except FilterInvalid as error:
            problem = f"{error.message} {error.hint or ''}"
        if asked and not page.rows and not problem:
            problem = f"There is no row with the key {', '.join(asked)[:VALUE_CHARS_MAX]}."
        rows = [reader.table.flat(one) for one in page.rows]
        columns = list(dict.fromkeys(column for row in rows for column in row))
        return await self._page(
            self._one,
            table=self._described(self._seen(request)[name]),
            served=[one.path.lstrip("/") for one in self._platform.served.of_table(name)],
            rows=rows,
            columns=columns[:COLUMNS_MAX],
            left_out=max(0, len(columns) - COLUMNS_MAX),
            asked=asked[0] if asked else "",
            problem=problem,
            next=None if page.after is None else _token(page.after),
            is_first=not request.query_params.get("after"),
            example=_text(list(page.rows[0].key) if len(page.rows[0].key) > 1 else page.rows[0].key[0])
            if page.rows
            else "",
        )

    async def _page(self, template: Any, **values: Any) -> Response:
        render = functools.partial(
            template.render,
            title=self._platform.config.intake.service_name,
            version=__version__,
            notice=self._notice,
            **values,
        )
        return HTMLResponse(await in_thread(render), headers=PAGE_HEADERS)

    def _seen(self, request: Request) -> dict[str, Job]:
        """The tables that the client may read, with the jobs that keep them, by name."""
        streams = seen(request)
        jobs = {table.name: job for job in self._platform.jobs if (table := job.writes().materialized) is not None}
        restricted = {one.table.name for one in self._platform.served.all() if one.is_restricted}
        # Rows for roles are served in one way, which is audited.
        return {
            name: job
            for name, job in sorted(jobs.items())
            if streams.visibility.reads_table(name, streams.sight) and name not in restricted
        }

    def _reader(self, request: Request) -> tuple[str, TableReader]:
        """The name and the reader of the requested table. Raises TableUnknown if the client may not read it."""
        name, known = request.path_params["name"], self._seen(request)
        if name not in known:
            raise TableUnknown(
                f"There is no materialized table {name!r:.200}.", hint=suggestion(name, known) if known else None
            )
        return name, self._platform.materialized(name)

    def _described(self, job: Job) -> dict[str, Any]:
        table = job.writes().materialized
        assert table is not None
        report = self._platform.runners[job.name].report()
        return {
            "name": table.name,
            "summary": job.summary,
            "sources": list(job.reads()),
            "key": list(table.key_names),
            "state": report.state,
            "position": report.position,
            # As the job reports them: counting rows would read them all.
            "keys": report.state_keys if report.position is not None else None,
            "bytes": report.state_bytes if report.position is not None else None,
        }


def _read(work: Callable[[], Any]) -> Any:
    """The result of reading. Raises FilterInvalid for a key of another form than that of the table."""
    try:
        return work()
    except JobInvalid as error:
        raise FilterInvalid(error.detail, hint=_HOW_TO_KEY) from None


def _some_rows(reader: TableReader, prefix: Sequence[Any], after: bytes, limit: int) -> TablePage:
    """A page of at most `limit` rows and about ROWS_BYTES_MAX bytes."""
    rows: list[TableRow] = []
    size_bytes = 0
    next_after: bytes | None = after
    while next_after is not None and len(rows) < limit and size_bytes < ROWS_BYTES_MAX:
        page = reader.page(prefix=prefix, after=next_after, rows_max=min(ROWS_AT_ONCE, limit - len(rows)))
        rows += page.rows
        size_bytes += sum(len(json_bytes(one.row)) for one in page.rows)
        next_after = page.after
        if not page.rows:
            # Tombstones only: the client asks again, so that one request is never long.
            break
    return TablePage(rows, next_after)


def _found(reader: TableReader, asked: Sequence[str]) -> FoundRow:
    if any(len(one) > KEY_CHARS_MAX for one in asked):
        raise FilterInvalid(f"A key has at most {KEY_CHARS_MAX:,} characters.")
    return find_row(reader, asked)


def _page_rows(reader: TableReader, asked: Sequence[str], after: bytes) -> TablePage:
    if not asked:
        return _some_rows(reader, (), after, PAGE_ROWS)
    key, row = _found(reader, asked)
    if row is None:
        return TablePage([], None)
    return TablePage([_row_of(reader, key, row)], None)


def _row_of(reader: TableReader, key: Any, row: Mapping[str, Any]) -> Any:
    return TableRow(tuple(key) if isinstance(key, list | tuple) else (key,), dict(row))


def _prefix(request: Request) -> list[Any]:
    text = request.query_params.get("prefix", "")
    if len(text) > KEY_CHARS_MAX:
        raise FilterInvalid(f"A prefix has at most {KEY_CHARS_MAX:,} characters.")
    value = written_value(text) if text else []
    return value if isinstance(value, list) else [value]


def _limit(request: Request) -> int:
    text = request.query_params.get("limit", str(ROWS_DEFAULT))
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= ROWS_MAX):
        raise FilterInvalid(f"limit must be a number from 1 to {ROWS_MAX:,}, not {text[:80]!r}.")
    return int(text)


def _token(key: bytes) -> str:
    return base64.urlsafe_b64encode(key).rstrip(b"=").decode()


def _after(request: Request) -> bytes:
    text = request.query_params.get("after", "")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise FilterInvalid(
            f"after must be the `next` of a page before, not {text[:80]!r}.", hint="Leave it out for the first page."
        ) from None


def _text(key: Any) -> str:
    return json_bytes(key).decode()[:KEY_CHARS_MAX]


def _shown(value: Any) -> str:
    """A value as the page shows it: text as it is, anything else as JSON."""
    text = value if isinstance(value, str) else "" if value is None else _text(value)
    return text if len(text) <= VALUE_CHARS_MAX else f"{text[:VALUE_CHARS_MAX]}…"


def _json(body: Any) -> Response:
    # Numbers are as the job has stored them, also those that no double represents exactly.
    return Response(encode_json(body), headers={"content-type": "application/json", "cache-control": "no-store"})
