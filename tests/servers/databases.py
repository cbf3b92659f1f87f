"""An empty database, or a part of one, for each test on a real database server."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pymysql

from servers.places import LOOPBACK

LOCK_SECONDS = 20


def postgres_dsn(port: int) -> str:
    """The connection string of the database for tests."""
    return f"postgresql://test@{LOOPBACK}:{port}/postgres"


def mysql_dsn(port: int, database: str) -> str:
    """The URL of a database for tests."""
    return f"mysql://root@{LOOPBACK}:{port}/{database}"


@contextmanager
def postgres_schema(port: int) -> Iterator[str]:
    """The name of a schema that is dropped at the end, with its tables."""
    name = f"suite_{secrets.token_hex(6)}"
    with psycopg.connect(postgres_dsn(port), autocommit=True) as connection:
        connection.execute(f'CREATE SCHEMA "{name}"'.encode())
        yield name
        connection.execute(f"SET lock_timeout = '{LOCK_SECONDS}s'".encode())
        connection.execute(f'DROP SCHEMA "{name}" CASCADE'.encode())


@contextmanager
def mysql_database(port: int) -> Iterator[str]:
    """The name of a database that is dropped at the end. Its texts are in latin1 unless a table says otherwise."""
    name = f"suite_{secrets.token_hex(6)}"
    connection = pymysql.connect(host=LOOPBACK, port=port, user="root", autocommit=True)
    with connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name} CHARACTER SET latin1")
        yield name
        cursor.execute(f"SET SESSION lock_wait_timeout = {LOCK_SECONDS}")
        cursor.execute(f"DROP DATABASE {name}")
