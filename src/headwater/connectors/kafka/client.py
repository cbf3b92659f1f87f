"""How the clients of a Kafka that is not ours are configured, and what the errors of its brokers ask for."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Protocol

from confluent_kafka import KafkaError, KafkaException

from headwater.errors import ConfigInvalid

# Settings of the client that are options of the connector, or that no connector may change.
OWN_SETTINGS = frozenset(
    (
        "bootstrap.servers",
        "metadata.broker.list",
        "sasl.username",
        "sasl.password",
        "plugin.library.paths",
        "allow.auto.create.topics",
    )
)
NOT_THERE = frozenset((KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION))
DENIED = frozenset(
    (
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError._AUTHENTICATION,
        KafkaError.SASL_AUTHENTICATION_FAILED,
    )
)
log = logging.getLogger("headwater.connectors.kafka")
# What matters is reported as errors of the connector; the client's own lines are for debugging.
log.addFilter(lambda record: log.isEnabledFor(logging.DEBUG))


class Login(Protocol):
    """The options of a connector by which it reaches the brokers."""

    @property
    def servers(self) -> tuple[str, ...]: ...
    @property
    def user(self) -> str | None: ...
    @property
    def password(self) -> str | None: ...
    @property
    def settings(self) -> Mapping[str, Any]: ...


def check_settings(settings: Mapping[str, Any], own: frozenset[str], connector: str, options: str) -> None:
    """Raise ConfigInvalid for a setting that the connector sets itself; `options`: those to use instead."""
    for name in settings:
        if name in own or name in OWN_SETTINGS or name.startswith("sasl.oauthbearer.client"):
            raise ConfigInvalid(
                f"The setting {name} of a Kafka {connector} cannot be changed.", hint=f"Use the options {options}."
            )


def client_settings(login: Login, defaults: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a client: what is written replaces `defaults`, and never `own`."""
    found: dict[str, Any] = {
        "client.id": "headwater",
        "socket.keepalive.enable": True,
        **defaults,
        **login.settings,
        "bootstrap.servers": ",".join(login.servers),
        "allow.auto.create.topics": False,
        **own,
    }
    if login.user is not None:
        found |= {"sasl.username": login.user, "sasl.password": login.password or ""}
    return found


def error_in(error: object) -> KafkaError | None:
    """The client's error, also if it is inside an exception; None for anything else."""
    if isinstance(error, KafkaException) and error.args:
        error = error.args[0]
    return error if isinstance(error, KafkaError) else None


def said(error: object) -> str:
    """What the client, or a broker, says."""
    found = error_in(error)
    return str(error) if found is None else str(found.str())
