"""A broker that demands TLS and a password: the log gets in with both, and says what is wrong without either."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from headwater.config import load_config
from headwater.errors import LogUnavailable
from headwater.log.contract import Log, Record, TopicSettings
from headwater.log.open import log_of

if TYPE_CHECKING:
    from servers.kafka import SecureListener

TOPIC = "security"
MECHANISMS = ("SCRAM-SHA-512", "PLAIN")
WRONG_PASSWORD = "not the password"


def options(secure: SecureListener, mechanism: str) -> dict[str, str]:
    return {
        "security.protocol": "sasl_ssl",
        "ssl.ca.location": str(secure.ca_file),
        "sasl.mechanism": mechanism,
        "sasl.username": secure.user,
        "sasl.password": secure.password,
    }


def secured_log(secure: SecureListener, given: dict[str, str]) -> Log:
    from headwater.log.kafka.log import KafkaLog

    return KafkaLog(f"kafka://{secure.bootstrap}/{given.get('sasl.mechanism', 'none').lower()}.", options=given)


@pytest.mark.parametrize("mechanism", MECHANISMS)
async def test_events_are_written_and_read_over_tls_with_a_password(
    kafka_secure: SecureListener, mechanism: str
) -> None:
    log = secured_log(kafka_secure, options(kafka_secure, mechanism))
    await log.open()
    try:
        await log.ensure_topic(TOPIC, TopicSettings())
        placements = await log.append([Record(TOPIC, b"confidential", b"key")])
        found = await log.read(await log.first([TOPIC]), wait_seconds=5.0)
    finally:
        await log.close()
    assert [place.offset for place in placements] == [0]
    assert [(record.key, record.value) for record in found] == [(b"key", b"confidential")]


async def test_a_project_names_its_secrets_and_holds_none(
    kafka_secure: SecureListener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "password").write_text(f"{kafka_secure.password}\n")
    (tmp_path / "headwater.yaml").write_text(
        "log:\n"
        f"  url: kafka://{kafka_secure.bootstrap}/by-reference.\n"
        "  kafka:\n"
        "    security.protocol: sasl_ssl\n"
        f"    ssl.ca.location: {kafka_secure.ca_file}\n"
        "    sasl.mechanism: SCRAM-SHA-512\n"
        "    sasl.username: ${env:BROKER_USER}\n"
        "    sasl.password: ${file:secrets/password}\n"
    )
    monkeypatch.setenv("BROKER_USER", kafka_secure.user)
    config = load_config(tmp_path, {})
    assert kafka_secure.password not in repr(config)
    log = log_of(config)
    await log.open()
    try:
        await log.ensure_topic(TOPIC, TopicSettings())
        assert TOPIC in [topic.name for topic in await log.topics()]
    finally:
        await log.close()


@pytest.fixture(scope="module")
def refusals(kafka_secure: SecureListener) -> dict[str, str]:
    """Why logs do not open that lack something; all tried at once, because each waits for an answer it does not get."""
    complete = {mechanism: options(kafka_secure, mechanism) for mechanism in MECHANISMS}
    lacking: dict[str, dict[str, str]] = {
        f"password of {mechanism}": given | {"sasl.password": WRONG_PASSWORD} for mechanism, given in complete.items()
    }
    lacking["user"] = complete["PLAIN"] | {"sasl.username": "somebody"}
    lacking["trust"] = {name: value for name, value in complete["PLAIN"].items() if name != "ssl.ca.location"}
    lacking["tls"] = {}

    async def refusal(given: dict[str, str]) -> str:
        log = secured_log(kafka_secure, given)
        try:
            with pytest.raises(LogUnavailable) as caught:
                await log.open()
        finally:
            await log.close()
        return f"{caught.value} {caught.value.hint}"

    async def all_of_them() -> list[str]:
        return await asyncio.gather(*(refusal(given) for given in lacking.values()))

    return dict(zip(lacking, asyncio.run(all_of_them()), strict=True))


@pytest.mark.parametrize("lack", [*(f"password of {mechanism}" for mechanism in MECHANISMS), "user"])
def test_wrong_credentials_are_named_as_what_is_wrong_and_never_shown(
    refusals: dict[str, str], kafka_secure: SecureListener, lack: str
) -> None:
    text = refusals[lack]
    assert "did not accept the credentials" in text
    assert "sasl.password" in text
    assert kafka_secure.bootstrap in text
    assert WRONG_PASSWORD not in text
    assert kafka_secure.password not in text


def test_a_broker_with_a_certificate_that_is_not_trusted_is_refused(refusals: dict[str, str]) -> None:
    assert "certificate" in refusals["trust"]


def test_a_client_without_tls_is_not_let_in(refusals: dict[str, str], kafka_secure: SecureListener) -> None:
    assert kafka_secure.bootstrap in refusals["tls"]
