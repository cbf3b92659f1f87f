"""The options of a MariaDB source."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headwater.connectors.row_changes.events import TableEvents, fields_of_tables, read_tables, streams_of_tables
from headwater.declaration import Declaration
from headwater.settings import REQUIRED, setting


@dataclass(frozen=True, slots=True)
class MysqlCdcOptions:
    """The options of a MariaDB source."""

    url: str = setting(
        REQUIRED,
        "The server, such as `mysql://USER:PASSWORD@HOST:3306`; a reference, `${env:NAME}` or `${file:PATH}`.",
        secret=True,
    )
    tables: Mapping[str, Any] = setting(
        REQUIRED, "The tables, `DATABASE.TABLE`, and for each the stream and the fields of its events."
    )
    server_id: int | None = setting(
        None,
        "The number by which the server knows this source among its replicas, each of which needs its own; null: one "
        "that is made of the name of the source.",
        at_least=1,
        at_most=4_294_967_295,
    )
    connect_seconds_max: float = setting(10.0, "How long a connection may take to be established.", at_least=1)
    heartbeat_seconds: float = setting(
        10.0,
        "How often the server sends something while nothing changes. After three times as long without anything the "
        "connection is made again.",
        at_least=0.5,
        at_most=3600,
    )


def server_id_of(options: MysqlCdcOptions, source: str) -> int:
    """Never a small one, as servers have."""
    return options.server_id or 1_000_000_000 + zlib.crc32(source.encode()) % 3_000_000_000


def tables_of(options: MysqlCdcOptions, source: Declaration | None = None) -> tuple[TableEvents, ...]:
    """Raises ConfigInvalid."""
    declaration = source or Declaration("", {"tables": options.tables})
    return read_tables(options.tables, declaration, ("tables",))


def streams_of(options: MysqlCdcOptions) -> Sequence[str]:
    """The streams that the tables go to."""
    return streams_of_tables(tables_of(options))


def filled_by(options: MysqlCdcOptions) -> Sequence[tuple[str, str]]:
    """The streams that the tables go to, each with the dotted path of a field that is filled."""
    return fields_of_tables(tables_of(options))


def check(options: MysqlCdcOptions, source: Declaration) -> None:
    """Raises ConfigInvalid."""
    tables_of(options, source)
