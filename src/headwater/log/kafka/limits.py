"""Asks a cluster beforehand what it would refuse: topics as they are declared, and transactions as long as they may be.

How this works: nothing is changed. Topics that are to be made are made "on trial" (`validate_only`), which asks every
rule the cluster has: names, copies, partitions, policies of its host. Requests that this user may not make are skipped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from headwater.errors import ConfigInvalid
from headwater.log.contract import Refusal, TopicSettings
from headwater.log.kafka.settings import (
    AdminClient,
    ConfigResource,
    KafkaError,
    KafkaException,
    KafkaSettings,
    NewTopic,
    error_of,
)
from headwater.log.kafka.waits import OVERDUE_SECONDS

TRANSACTION_LIMIT = "transaction.max.timeout.ms"
# The request was refused; the cluster itself works.
REFUSING = frozenset(
    {
        KafkaError.TOPIC_EXCEPTION,
        KafkaError.INVALID_PARTITIONS,
        KafkaError.INVALID_REPLICATION_FACTOR,
        KafkaError.INVALID_REPLICA_ASSIGNMENT,
        KafkaError.INVALID_CONFIG,
        KafkaError.INVALID_REQUEST,
        KafkaError.POLICY_VIOLATION,
    }
)
# A missing answer is not a refusal.
UNASKED = frozenset({KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED})


def refusal_of(topic: str, exception: BaseException, replicas: int, brokers: int) -> Refusal | None:
    """Why the cluster will not make a topic; None for anything that is no refusal of the topic."""
    error = error_of(exception)
    if error.code() not in REFUSING:
        return None
    if error.code() == KafkaError.INVALID_REPLICATION_FACTOR and replicas > brokers:
        count = f"{brokers} broker{'' if brokers == 1 else 's'}"
        return Refusal(
            topic,
            f"The topic {topic} is to have {replicas} copies, and the cluster has {count}.",
            f"Declare transport.kafka.replicas, or log.replication_factor, as {brokers} at most.",
        )
    said = error.str().removeprefix("Broker: ").rstrip(".")
    return Refusal(topic, f"The cluster refuses to create {topic}: {said}.", "Declare it as the cluster allows.")


async def refused_topics(
    client: AdminClient, trials: Mapping[str, NewTopic], brokers: int, seconds_max: float
) -> list[Refusal]:
    """Those of `trials` (by our names) that the cluster would not make, and why."""
    if not trials:
        return []
    asked = client.create_topics(list(trials.values()), validate_only=True, request_timeout=seconds_max)
    names = {trial.topic: name for name, trial in trials.items()}
    found = []
    for full_name, future in asked.items():
        try:
            async with asyncio.timeout(seconds_max + OVERDUE_SECONDS):
                await asyncio.wrap_future(future)
        except TimeoutError:
            continue
        except KafkaException as error:
            name = names[full_name]
            refusal = refusal_of(name, error, trials[name].replication_factor, brokers)
            found += [refusal] if refusal is not None else []
    return found


async def check_transactions(client: AdminClient, settings: KafkaSettings, broker: int) -> None:
    """Raises ConfigInvalid where transactions may not be open for as long as `delivery_seconds_max` demands."""
    resource = ConfigResource(ConfigResource.Type.BROKER, str(broker))
    try:
        [future] = client.describe_configs([resource], request_timeout=settings.answer_seconds_max).values()
        async with asyncio.timeout(settings.answer_seconds_max + OVERDUE_SECONDS):
            config = await asyncio.wrap_future(future)
    except (KafkaException, TimeoutError):
        # A hosted cluster may not report it; a transaction that is too long is refused with the same hint.
        return
    entry = config.get(TRANSACTION_LIMIT)
    limit_ms = int(entry.value) if entry is not None and entry.value else None
    if limit_ms is not None and settings.open_seconds_max * 1_000 > limit_ms:
        raise ConfigInvalid(
            f"log.delivery_seconds_max is {settings.delivery_seconds_max:g}: transactions may be open for twice that,"
            f" and the brokers allow {limit_ms / 1_000:g} s ({TRANSACTION_LIMIT}).",
            hint=f"Set it to {limit_ms // 2_000} or less.",
        )


def copies_and_in_sync(settings: KafkaSettings, topic: TopicSettings, brokers: int, most: int) -> tuple[int, int]:
    """How many copies a new topic has, and how many of them must have an event before it is acknowledged."""
    replicas = topic.replicas or settings.replication_factor or min(most, brokers)
    return replicas, min(replicas, settings.min_insync_replicas or (2 if replicas > 2 else 1))


def differing_copies(declared: Mapping[str, TopicSettings], there: Mapping[str, int]) -> Sequence[Refusal]:
    """Topics that have another number of copies than is declared: only the brokers' own tools change that."""
    return [
        Refusal(
            topic,
            f"The topic {topic} has {there[topic]} copies, and {settings.replicas} are declared.",
            f"Change them with kafka-reassign-partitions, or declare transport.kafka.replicas: {there[topic]}.",
        )
        for topic, settings in declared.items()
        if settings.replicas is not None and there.get(topic, settings.replicas) != settings.replicas
    ]
