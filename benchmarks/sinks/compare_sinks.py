"""Rows into tables by Headwater, by dlt, PyIceberg and opensearch-py: processor time of the client and time, per row.

How this works: both read the same file of events of 1 KB, in a process and an environment of their own (`--dlt
PYTHON`), and fill a new table, either a row per event or the newest row of each key (each key comes twice). Each load
is run with few and with many events: the differences of the times, divided by that of the numbers, are what a row
costs, without what starting costs. The engines take turns, `--rounds` times; the rows are counted after each load.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import sink_events

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import figures

HERE = Path(__file__).resolve().parent
MODES = ("append", "upsert")
RUN_SECONDS_MAX = 300.0


def load(python: str, script: str, arguments: Sequence[str], folder: Path) -> dict[str, float]:
    """One run of an engine; its times in seconds."""
    command = [python, str(HERE / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=RUN_SECONDS_MAX, cwd=folder)
    if done.returncode:
        raise SystemExit(f"{script} failed:\n{done.stderr[-3000:]}")
    times: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return times


class Postgres:
    """A new schema for each load."""

    name = "postgres"

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn

    def clear(self, folder: Path) -> str:
        """Drop what was loaded; the place of the next load."""
        self._ask("DROP TABLE IF EXISTS events, _headwater_position")
        self._ask("DROP SCHEMA IF EXISTS bench CASCADE")
        self._ask("DROP SCHEMA IF EXISTS bench_staging CASCADE")
        return self._dsn

    def count(self, place: str, table: str) -> int:
        """The rows of a table."""
        return int(self._ask(f"SELECT count(*) FROM {table}"))

    def _ask(self, statement: str) -> str:
        import psycopg

        with psycopg.connect(self._dsn, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            found = cursor.fetchone() if cursor.description else None
            return str(found[0]) if found else ""


class Duckdb:
    """A new file for each load."""

    name = "duckdb"

    def clear(self, folder: Path) -> str:
        """Remove the file; the place of the next one."""
        for path in folder.glob("tables.duckdb*"):
            path.unlink()
        return str(folder / "tables.duckdb")

    def count(self, place: str, table: str) -> int:
        """The rows of a table."""
        import duckdb

        with duckdb.connect(place) as connection:
            return int(connection.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0])


class Iceberg:
    """A new catalog in SQLite, and files on this disk, for each load."""

    name = "iceberg"

    def clear(self, folder: Path) -> str:
        """Remove the tables; the folder of the next ones."""
        place = folder / "iceberg"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        return str(place)

    def count(self, place: str, table: str) -> int:
        """The rows of a table."""
        from pyiceberg.catalog import load_catalog

        catalog = load_catalog("default", type="sql", uri=f"sqlite:///{place}/catalog.db", warehouse=f"file://{place}")
        return int(catalog.load_table(f"headwater.{table}").scan().count())


class Parquet:
    """A new directory of files for each load."""

    name = "parquet"

    def clear(self, folder: Path) -> str:
        """Remove the files; the place of the next ones."""
        shutil.rmtree(folder / "files", ignore_errors=True)
        return str(folder / "files")

    def count(self, place: str, table: str) -> int:
        """The rows of all files in the directory of a table."""
        import pyarrow.parquet

        files = (Path(place) / table.replace(".", "/")).glob("*.parquet")
        return sum(pyarrow.parquet.read_metadata(file).num_rows for file in files)


class Opensearch:
    """A new index for each load, with the mapping of Headwater's sink whichever engine fills it."""

    name = "opensearch"

    def __init__(self, url: str) -> None:
        self._url = url

    def clear(self, folder: Path) -> str:
        """Remove the index, and create it empty."""
        import opensearchpy

        with opensearchpy.OpenSearch([self._url]) as client:
            client.indices.delete(index="events", ignore_unavailable=True)
        nothing = folder / "nothing.jsonl"
        nothing.touch()
        load(sys.executable, "headwater_load.py", (self.name, "append", str(nothing), self._url), folder)
        return self._url

    def count(self, place: str, table: str) -> int:
        """The documents of an index."""
        import opensearchpy

        with opensearchpy.OpenSearch([place], timeout=60) as client:
            client.indices.refresh(index=table)
            return int(client.count(index=table)["count"])


Target = Postgres | Duckdb | Iceberg | Parquet | Opensearch


def main() -> int:
    """Print a table of all engines, targets and modes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--postgres", help="the connection string of a PostgreSQL to fill; without it only DuckDB is")
    parser.add_argument(
        "--dlt", help="the Python of an environment with dlt[postgres,duckdb,filesystem], pyarrow and orjson"
    )
    parser.add_argument("--iceberg", action="store_true", help="fill Iceberg tables, too, beside PyIceberg alone")
    parser.add_argument("--targets", default="postgres,duckdb,parquet,iceberg,opensearch", help="only these")
    parser.add_argument(
        "--opensearch", help="the URL of an OpenSearch to fill, beside the bulk helper of opensearch-py"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=40_000, help="of the larger load; the smaller one has a tenth")
    options = parser.parse_args()
    headwater = {"Headwater": (sys.executable, "headwater_load.py", "events")}
    dlt = {"dlt": (options.dlt, "dlt_load.py", "bench.events")} if options.dlt else {}
    # Its `upsert` takes minutes for so many keys.
    alone = {"PyIceberg": (sys.executable, "pyiceberg_load.py", "events")}
    bulk = {"opensearch-py": (sys.executable, "opensearch_load.py", "events")}
    targets: list[Target] = [Duckdb(), Parquet()]
    if options.postgres:
        targets.insert(0, Postgres(options.postgres))
    if options.iceberg:
        targets.append(Iceberg())
    if options.opensearch:
        targets.append(Opensearch(options.opensearch))
    targets = [target for target in targets if target.name in options.targets.split(",")]
    costs: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.rounds):
            for target in targets:
                # Files are only added to.
                for mode in MODES[:1] if isinstance(target, Parquet) else MODES:
                    others = dlt
                    if isinstance(target, Iceberg):
                        others = alone if mode == "append" else {}
                    elif isinstance(target, Opensearch):
                        others = bulk
                    for engine, how in (headwater | others).items():
                        figures.progress(f"round {number + 1}: {engine}, {target.name}, {mode}")
                        cost = _cost(Path(folder), target, mode, how, options.rows)
                        costs.setdefault((target.name, mode, engine), []).append(cost)
    rows = [
        [*key, figures.spread([cpu for cpu, _ in found]), f"{1e6 / statistics.median(wall for _, wall in found):,.0f}"]
        for key, found in costs.items()
    ]
    figures.table(["target", "mode", "engine", "client's processor time per row, µs", "rows per second"], rows)
    return 0


def _cost(folder: Path, target: Target, mode: str, engine: tuple[str, str, str], rows: int) -> tuple[float, float]:
    """Processor time and time per row, in microseconds."""
    python, script, table = engine
    times = []
    counts = (rows // 10, rows)
    for count in counts:
        keys = count if mode == "append" else count // 2
        file = folder / "events.jsonl"
        sink_events.write_events(file, count, keys)
        place = target.clear(folder)
        times.append(load(python, script, (target.name, mode, str(file), place), folder))
        shutil.rmtree(f"{file}.pipelines", ignore_errors=True)
        found = target.count(place, table)
        if found != keys:
            raise SystemExit(f"{script} left {found} rows in {target.name}, not {keys}")
    few, many = times
    difference = (counts[1] - counts[0]) / 1e6
    return (many["cpu"] - few["cpu"]) / difference, (many["wall"] - few["wall"]) / difference


if __name__ == "__main__":
    sys.exit(main())
