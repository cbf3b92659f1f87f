"""The broker campaign from the shell: every fault, several times over, on three nodes of its own."""

from __future__ import annotations

import asyncio

from servers.failure import ServerError
from servers.kafka import KafkaCluster
from servers.keeper import running

HOLD_SECONDS = 12.0


def run_faults(rounds: int) -> int:
    """Strike with every fault `rounds` times and print the figures; 0 when nothing was lost, twice or out of order.

    :raises ServerError: the cluster cannot run here, or this Python lacks Headwater with its Kafka client.
    """
    try:
        from headwater.log.kafka.log import KafkaLog
        from headwater.testing.campaign.kafka_faults import HEADINGS, BrokerCampaign, FaultFigures, shuffled
    except ImportError as error:
        raise ServerError(f"{error}; run this with the Python of the project's environment (make servers)") from error
    with running("kafka-cluster") as (_, server):
        assert isinstance(server, KafkaCluster)
        bootstrap = server.bootstrap
        campaign = BrokerCampaign(server, lambda: KafkaLog(f"kafka://{bootstrap}"))
        print(HEADINGS, flush=True)

        def tell(figures: FaultFigures) -> None:
            print(figures.text(), flush=True)

        report = asyncio.run(campaign.run(shuffled(rounds), hold_seconds=HOLD_SECONDS, tell=tell))
    print("\n".join(report.totals()))
    return 1 if report.problems else 0
