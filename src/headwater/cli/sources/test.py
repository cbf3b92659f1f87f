"""`headwater sources test`: connect to the upstream of a source, and show what its events would become."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headwater.cli.console import say
from headwater.cli.plan import project_option
from headwater.cli.sources.named import source_named

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headwater.config import Config
    from headwater.connectors.contract import Delivery, Source
    from headwater.processing.source_files import DeclaredSource

EVENTS_MAX = 5
WAIT_SECONDS = 10.0
SHOWN_CHARS_MAX = 200


@click.command(
    short_help="Try a source: connect, and show what its events would become.",
    epilog="Example:  headwater sources test recent_changes",
)
@click.argument("name")
@project_option
def command(*, name: str, project: Path) -> None:
    """Connect to the upstream of the source NAME, read a few events, and show what the gate would do with each.

    Nothing is stored, confirmed or changed. The exit code is 1 if the upstream does not answer.
    """
    config, source = source_named(project, name)
    if source.configured.spec.pushed:
        say(f"The source {name} reads nothing: its events are posted to /v1/webhooks/{name}.")
        return
    for sentence in asyncio.run(_tried(config, source)):
        say(sentence)


async def _tried(config: Config, source: DeclaredSource) -> Sequence[str]:
    from headwater.connectors.contract import Probes
    from headwater.processing.hosting.files import connector_of, kept_secrets
    from headwater.processing.source_files import job_of

    connector = connector_of(config, job_of(source, config.project_dir))
    assert connector is not None
    secrets = kept_secrets(config, source.configured)
    try:
        if isinstance(connector, Probes):
            return await secrets.kept_by(connector.probe())
        verdicts = await secrets.kept_by(_read(config, source, connector))
        return [f"{source.configured.spec.name} answers.", *verdicts]
    finally:
        await secrets.kept_by(connector.close())


async def _read(config: Config, source: DeclaredSource, connector: Source) -> Sequence[str]:
    await connector.open(None)
    batch = await connector.read(deliveries_max=EVENTS_MAX, wait_seconds=WAIT_SECONDS)
    if not batch.deliveries:
        return [f"No event came within {WAIT_SECONDS:.0f} s."]
    verdicts = await asyncio.to_thread(_verdicts, config, source, batch.deliveries)
    return [f"{len(batch.deliveries)} events were read. Nothing was stored.", *verdicts]


def _verdicts(config: Config, source: DeclaredSource, deliveries: Sequence[Delivery]) -> Sequence[str]:
    from headwater.checking.project import schemas_of
    from headwater.errors import EventMalformed
    from headwater.event import decode_event, encode_event
    from headwater.intake.gate import Gate, GateSettings
    from headwater.intake.outcome import Admitted
    from headwater.jobs.steps import Element
    from headwater.processing.arriving import ArrivalBuilder
    from headwater.processing.declarations import declarations
    from headwater.processing.failures.causes import DECODE
    from headwater.processing.source_files import job_of

    streams, _ = declarations(config)
    gate = Gate(streams, schemas_of(config), GateSettings.from_config(config))
    builder = ArrivalBuilder(job_of(source, config.project_dir), gate)
    builder.prepare()
    found = []
    for number, one in enumerate(deliveries, 1):
        stream = one.stream or source.streams[0]
        try:
            value, _, _ = decode_event(one.raw or encode_event(one.value)[0])
            if not isinstance(value, dict):
                raise EventMalformed("It is not a JSON object.")
        except EventMalformed as error:
            found.append(f"{number}. refused: {DECODE}: {error.message} {one.raw[:SHOWN_CHARS_MAX]!r}")
            continue
        item = Element(value, 0, one.event_id or str(number), stream, None, value)
        made = asyncio.run(builder.output(item))
        if isinstance(made, Admitted):
            found.append(f"{number}. {stream}: {made.encoded.decode()[:SHOWN_CHARS_MAX]}")
        else:
            found.append(f"{number}. refused: {made.error}")
    return found
