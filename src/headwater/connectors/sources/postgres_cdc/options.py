"""The options of a PostgreSQL source, and what follows from its tables."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headwater.connectors.row_changes.events import TableEvents, fields_of_tables, read_tables, streams_of_tables
from headwater.declaration import Declaration
from headwater.settings import REQUIRED, setting

_SLOT = re.compile(r"[a-z0-9_]{1,63}")


@dataclass(frozen=True, slots=True)
class PostgresCdcOptions:
    """The options of a PostgreSQL source."""

    url: str = setting(
        REQUIRED,
        "The database, such as `postgresql://USER:PASSWORD@HOST:5432/NAME`; a reference, `${env:NAME}` or"
        " `${file:PATH}`.",
        secret=True,
    )
    tables: Mapping[str, Any] = setting(
        REQUIRED, "The tables, `SCHEMA.TABLE`, and for each the stream and the fields of its events."
    )
    slot: str | None = setting(
        None, "The replication slot; null: `headwater_SOURCE`. It is created, and belongs to this source alone."
    )
    publication: str | None = setting(
        None, "The publication; null: `headwater_SOURCE`. It is created if there is none of this name."
    )
    connect_seconds_max: float = setting(10.0, "How long a connection may take to be established.", at_least=1)
    slot_wait_seconds: float = setting(
        90.0,
        "How long to wait for a slot that another client reads, such as one that died and that the server has not "
        "missed yet (`wal_sender_timeout`); then the source stops.",
        at_least=0,
    )
    status_seconds: float = setting(
        10.0,
        "How often the server gets a status, also while nothing is read; less than its `wal_sender_timeout`.",
        at_least=0.1,
        at_most=3600,
    )
    heartbeat_seconds: float = setting(
        0.0,
        "How often a message is written to the log of the database (`pg_logical_emit_message`), 0: never. It is needed "
        "only where the server has nothing else to send, and its log still grows.",
        at_least=0,
        at_most=86_400,
    )
    check_seconds: float = setting(
        60.0, "How often to check that the publication still has all tables.", at_least=1, at_most=86_400
    )


def slot_name(options: PostgresCdcOptions, source: str) -> str:
    """The slot of a source: letters of names that slots cannot have become `_`."""
    return options.slot or "headwater_" + re.sub(r"[^a-z0-9_]", "_", source.lower())[:53]


def publication_name(options: PostgresCdcOptions, source: str) -> str:
    return options.publication or slot_name(options, source)


def tables_of(options: PostgresCdcOptions, source: Declaration | None = None) -> tuple[TableEvents, ...]:
    """Raises ConfigInvalid."""
    declaration = source or Declaration("", {"tables": options.tables})
    return read_tables(options.tables, declaration, ("tables",))


def streams_of(options: PostgresCdcOptions) -> Sequence[str]:
    """The streams that the tables go to."""
    return streams_of_tables(tables_of(options))


def filled_by(options: PostgresCdcOptions) -> Sequence[tuple[str, str]]:
    """The streams that the tables go to, each with the dotted path of a field that is filled."""
    return fields_of_tables(tables_of(options))


def check(options: PostgresCdcOptions, source: Declaration) -> None:
    """Raises ConfigInvalid."""
    tables_of(options, source)
    if options.slot is not None and not _SLOT.fullmatch(options.slot):
        raise source.refusal(("slot",), "slot must have up to 63 letters a to z, digits and `_`.")
