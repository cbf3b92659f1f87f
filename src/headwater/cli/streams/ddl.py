"""`headwater streams ddl`: the table of a stream for programs in Flink's SQL, Java or Scala."""

from __future__ import annotations

from pathlib import Path

import click

from headwater.cli.console import say
from headwater.cli.plan import project_option

# Where the log is not on Kafka yet.
SERVERS = "kafka:9092"


@click.command(
    short_help="Print the table of a stream for Flink SQL.",
    epilog="""\b
Examples:
  headwater streams ddl shop.orders
  headwater streams ddl shop.orders:1.0.0 --sink""",
)
@click.argument("name", metavar="NAME[:VERSION]")
@click.option("--sink", is_flag=True, help="The table that writes the stream, instead of the one that reads it.")
@click.option(
    "--group",
    default="my-program",
    show_default=True,
    metavar="GROUP",
    help="The consumer group in which the program keeps its position.",
)
@project_option
def command(*, name: str, sink: bool, group: str, project: Path) -> None:
    """Print the statement that makes a table of Flink of the stream NAME, for programs without Headwater.

    The columns are the fields of VERSION of its schema, by default the newest, and the place of each event. The
    settings of a secured Kafka are not printed: add those of your Java client.
    """
    from headwater.config import load_config
    from headwater.jobs.sql.program import named_stream
    from headwater.log.urls import parse_url
    from headwater.processing.declarations import declarations
    from headwater.processing.flink.sql.columns import typed_stream
    from headwater.processing.flink.sql.printed import sink_ddl, source_ddl
    from headwater.schemas.configured import project_schemas

    config = load_config(project)
    streams, _ = declarations(config, lambda refused: None)
    stream, version = named_stream(name)
    typed = typed_stream(streams, project_schemas(config), stream, version)
    servers, namespace = SERVERS, ""
    if config.log.is_kafka:
        servers, namespace = parse_url(config.log.url)
    else:
        say(f"The log of this project is on SQLite, which Flink cannot read: {SERVERS} stands for a Kafka.")
    if sink:
        topic = typed.stream.topic_for(config.intake.topic_prefix)
        click.echo(sink_ddl(typed, f"{namespace}{topic}", servers), nl=False)
    else:
        topics = [f"{namespace}{topic}" for topic in typed.stream.topics]
        click.echo(source_ddl(typed, topics, servers, group=group), nl=False)
