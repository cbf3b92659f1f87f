"""Runs what is about typed tables on one Flink cluster, until all has ended. Run with the Python of Flink.

A query of the project in `typed/`, a program with the tables of `headwater.flink`, and the tables that are printed
for Java. Standard input has JSON: `cluster`, the `url` of the log, and the printed `source` and `sink`. Standard output
gets the reason of each that has failed, and null for the others, by name. One process: each would start a Java.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyflink.common import Configuration
from pyflink.table import StreamTableEnvironment

import headwater.flink
from headwater.errors import HeadwaterError
from headwater.processing.flink.asked import parse_arguments
from headwater.processing.flink.environment import environment_of
from headwater.processing.flink.submit import start, wait

PROJECT = Path(__file__).resolve().parent / "typed"
SETTINGS = {
    "parallelism.default": "2",
    "restart-strategy.type": "none",
    "execution.checkpointing.interval": "1s",
    "python.executable": sys.executable,
    "python.client.executable": sys.executable,
    # Tables of the platform are read in UTC all the same.
    "table.local-time-zone": "Asia/Tokyo",
}


def run_query(cluster: str) -> Any:
    given = ["--project", str(PROJECT), "--job", "sums", "--cluster", cluster, "--until-end", "--parallelism", "2"]
    return start(parse_arguments([*given, "--flink", "restart-strategy.type=none"]))


def run_program(cluster: str) -> Any:
    tables = environment(cluster)
    read = headwater.flink.table(tables, "readings:1.0.0", name="copying", project=PROJECT, until_end=True)
    tables.create_temporary_view("readings", read)
    rows = tables.sql_query(f"SELECT {FIELDS}, `_partition`, `_offset` FROM readings")
    headwater.flink.sink(rows, "copies", name="copying", project=PROJECT, id_columns=("_partition", "_offset"))
    return tables._headwater_environment.execute_async("copying")


def run_java(cluster: str, source: str, sink: str) -> Any:
    """What a program in Java does, without Python."""
    tables = environment(cluster)
    tables.execute_sql(source.rstrip().rstrip(";"))
    tables.execute_sql(sink.rstrip().rstrip(";"))
    done = tables.execute_sql(
        f"INSERT INTO `javas.sink` SELECT {FIELDS}, `_received`,"
        " ENCODE(JSON_OBJECT(KEY 'sensor' VALUE `sensor`), 'UTF-8'), `_headers`"
        " FROM `readings` /*+ OPTIONS('scan.bounded.mode' = 'latest-offset') */ WHERE `sensor` IS NOT NULL"
        # Such a program leaves out the events that only test the way by itself.
        " AND `meta`.`domain` IS DISTINCT FROM 'canary'"
    )
    return done.get_job_client()


FIELDS = ", ".join(
    f"`{name}`"
    for name in (
        *("$schema", "meta", "dt", "sensor", "value", "a-b", "select", "measured_at", "huge", "grid", "parts"),
        *("by_name", "labels", "anything"),
    )
)


def environment(cluster: str) -> Any:
    configuration = Configuration()
    for name, value in SETTINGS.items():
        configuration.set_string(name, value)
    made = environment_of(parse_arguments(["--job", "none", "--cluster", cluster]), configuration)
    tables = StreamTableEnvironment.create(made)
    tables._headwater_environment = made
    return tables


def main() -> None:
    asked: dict[str, Any] = json.load(sys.stdin)
    os.environ["HEADWATER_LOG_URL"] = asked["url"]
    cluster = asked["cluster"]
    runs: dict[str, Callable[[], Any]] = {
        "query": lambda: run_query(cluster),
        "program": lambda: run_program(cluster),
        "java": lambda: run_java(cluster, asked["source"], asked["sink"]),
    }
    reasons: dict[str, str | None] = {}
    clients = {}
    for name, run in runs.items():
        try:
            clients[name] = run()
        except HeadwaterError as error:
            reasons[name] = str(error)
    for name, client in clients.items():
        try:
            reasons[name] = wait(client, name)
        except HeadwaterError as error:
            reasons[name] = str(error)
    json.dump(reasons, sys.stdout)


if __name__ == "__main__":
    main()
