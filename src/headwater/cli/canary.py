"""`headwater canary`: sends canaries from outside like any producer, and reports how far a platform's canaries get."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click
import httpx

from headwater.cli.api_client import ask, headers_with, key_in
from headwater.cli.console import print_json, report_error
from headwater.cli.delivery import intake_url
from headwater.cli.options import key_option, server_option
from headwater.errors import HeadwaterError, StreamUnknown

if TYPE_CHECKING:
    from headwater.config import Config
    from headwater.monitoring.canary_plan import CanaryPlan, Target, Topology

# The conditions of a stream that need attention.
ALARMS = frozenset({"broken", "impossible"})


@click.group(short_help="Send canary events, and show how far they get.", epilog="Example:  headwater canary status")
def command() -> None:
    """Canaries: artificial events that show that a stream works from producer to consumer."""


@command.command(epilog="Example:  headwater canary status --condition broken")
@click.option(
    "--condition", "conditions", multiple=True, help="Only streams in this condition, such as broken or idle."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one stream per line.")
@server_option()
@key_option
def status(*, conditions: tuple[str, ...], as_json: bool, server: str, key_file: TextIO | None) -> None:
    """Print the condition of each stream of a running platform: live, idle (no traffic), broken, …

    The exit code is 1 if a stream is broken, or declares canaries that it cannot have.
    """
    answer = ask(server, "/v1/canaries", [("condition", one) for one in conditions], headers_with(key_file))
    if as_json:
        for stream in answer["streams"]:
            print_json(stream)
    else:
        _print_streams(answer["streams"])
        line = ", ".join(f"{count} {name}" for name, count in sorted(answer["conditions"].items()))
        click.echo(line or "No stream is declared.", err=True)
    raise SystemExit(1 if ALARMS & {stream["condition"] for stream in answer["streams"]} else 0)


@command.command(
    epilog="""\b
Examples:
  headwater canary run --dry-run
  headwater canary run mediawiki.page_change.v1 --server http://intake.example.org""",
)
@click.argument("names", metavar="[STREAM…]", nargs=-1)
@click.option(
    "--project",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path(),
    help="Project directory (default: current directory).",
)
@click.option("--dry-run", is_flag=True, help="Print the canaries as JSON, one per line, and send none.")
@server_option()
@key_option
def run(*, names: tuple[str, ...], project: Path, dry_run: bool, server: str, key_file: TextIO | None) -> None:
    """Send one canary for each STREAM (default: all that declare canaries) to every datacenter's intake, now.

    The addresses of the intakes are in services.yaml; --server is used for one that has no address there. All are
    tried; the exit code is 1 if one was not accepted, or a stream declares canaries that it cannot have.
    """
    from headwater.cli.up.up import require_project
    from headwater.config import load_config

    require_project(project)
    config = load_config(project)
    plans, topology = _plans(config, names)
    if dry_run:
        for plan, target in _targets(plans):
            print_json({"topic": target.topic, "url": _url(plan, target, topology, server), "event": _event(plan)})
        failed = 0
    else:
        key = key_in(key_file)
        failed = asyncio.run(_send_all(list(_targets(plans)), topology, server, config, key))
    for plan in plans:
        if plan.problems:
            report_error(f"{plan.stream.name}: {' '.join(plan.problems)}")
    raise SystemExit(1 if failed or any(plan.problems for plan in plans) else 0)


def _plans(config: Config, names: Sequence[str]) -> tuple[list[CanaryPlan], Topology]:
    from headwater.checking.project import schemas_of
    from headwater.monitoring.canary_plan import Topology, claiming, find_schemas, plan_of
    from headwater.monitoring.intakes import Intakes
    from headwater.processing.declarations import declarations

    streams, _ = declarations(config)
    claims = {stream.name: stream for stream in claiming(streams)}
    for name in names:
        if name not in claims:
            streams.get(name)
            raise StreamUnknown(f"{name} has no canaries.", hint="Set monitor.canary.enabled in its file.")
    topology = Topology(Intakes.load(config), config.intake.service_name, config.intake.topic_prefix)
    chosen = [claims[name] for name in names] or list(claims.values())
    repository = schemas_of(config).repository
    try:
        schemas = find_schemas(chosen, repository, topology)
    finally:
        repository.close()
    return [plan_of(stream, schemas[stream.name], topology, config) for stream in chosen], topology


def _targets(plans: Sequence[CanaryPlan]) -> Iterator[tuple[CanaryPlan, Target]]:
    for plan in plans:
        for target in plan.targets if plan.is_possible else ():
            yield plan, target


def _url(plan: CanaryPlan, target: Target, topology: Topology, server: str) -> str | None:
    """Where to post; None for topics of another datacenter, which only the platform itself can reach."""
    if target.url is not None:
        return target.url
    try:
        written = plan.stream.topic_for(topology.own_prefix)
    except HeadwaterError:
        return None
    return intake_url(server) if written == target.topic else None


def _event(plan: CanaryPlan) -> dict[str, Any]:
    from headwater.monitoring.canary_event import canary_event

    assert plan.schema is not None
    return canary_event(plan.stream, plan.schema, int(time.time() * 1000))


async def _send_all(
    targets: Sequence[tuple[CanaryPlan, Target]],
    topology: Topology,
    server: str,
    config: Config,
    key: str | None,
) -> int:
    """How many were not accepted. They are sent one after the other, to leave the intakes free for other producers."""
    from headwater.monitoring.canary_sender import key_for, post_canary

    failed = 0
    keys = config.canary_keys()
    async with httpx.AsyncClient(timeout=config.monitoring.canary_timeout_seconds) as client:
        for plan, target in targets:
            url = _url(plan, target, topology, server)
            if url is None:
                click.echo(f"skipped   {target.topic}: only the platform itself writes to it")
                continue
            try:
                # The key is for this server: other intakes must not receive it.
                await post_canary(client, _event(plan), url, key if target.url is None else key_for(url, keys))
            except (HeadwaterError, httpx.HTTPError) as error:
                failed += 1
                report_error(f"{target.topic}: {error or type(error).__name__}")
            else:
                click.echo(f"accepted  {target.topic}")
    return failed


def _print_streams(streams: Sequence[dict[str, Any]]) -> None:
    width = max((len(one["stream"]) for one in streams), default=0)
    for one in sorted(streams, key=lambda one: (one["condition"], one["stream"])):
        click.secho(f"{one['condition']:<10}  ", fg="red" if one["condition"] in ALARMS else None, nl=False)
        seen = one["last_canary"] or "never"
        detail = one["reason"] if one["condition"] in ALARMS | {"low"} else f"canary {seen}"
        ahead = one.get("clock_ahead")
        detail += f"; clocks of its producers run ahead, by up to {ahead['seconds_max']:,.0f} s" if ahead else ""
        click.echo(f"{one['stream']:<{width}}  {detail}")
