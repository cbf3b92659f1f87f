"""How the options of Kafka's client are translated for the Java client that Flink uses."""

from __future__ import annotations

from pathlib import Path

import pytest

from headwater.errors import ConfigInvalid
from headwater.processing.flink.client_options import java_properties

MODULES = "org.apache.flink.kafka.shaded.org.apache.kafka.common.security"


def test_a_user_and_a_password() -> None:
    found = java_properties(
        {
            "security.protocol": "sasl_ssl",
            "sasl.mechanisms": "SCRAM-SHA-512",
            "sasl.username": "jobs",
            "sasl.password": 'a"b\\c;',
        }
    )
    assert found == {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.jaas.config": f'{MODULES}.scram.ScramLoginModule required username="jobs" password="a\\"b\\\\c;";',
    }


def test_certificates_are_read(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("AUTHORITY")
    (tmp_path / "key.pem").write_text("KEY")
    found = java_properties(
        {
            "security.protocol": "ssl",
            "ssl.ca.location": str(tmp_path / "ca.pem"),
            "ssl.certificate.pem": "CERTIFICATE",
            "ssl.key.location": str(tmp_path / "key.pem"),
            "ssl.key.password": "secret",
            "ssl.endpoint.identification.algorithm": "none",
        }
    )
    assert found == {
        "security.protocol": "SSL",
        "ssl.truststore.type": "PEM",
        "ssl.truststore.certificates": "AUTHORITY",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.certificate.chain": "CERTIFICATE",
        "ssl.keystore.key": "KEY",
        "ssl.key.password": "secret",
        "ssl.endpoint.identification.algorithm": "",
    }


def test_options_of_other_names_and_those_without_a_meaning() -> None:
    given = {"socket.timeout.ms": "9000", "fetch.wait.max.ms": "50", "queued.min.messages": "1", "linger.ms": "5"}
    assert java_properties(given) == {"request.timeout.ms": "9000", "fetch.max.wait.ms": "50", "linger.ms": "5"}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"security.protocol": "sasl_plaintext"}, "has no Kerberos"),
        ({"security.protocol": "sasl_ssl", "sasl.mechanism": "OAUTHBEARER"}, "only PLAIN and SCRAM"),
        ({"security.protocol": "sasl_ssl", "sasl.mechanism": "PLAIN", "sasl.username": "a"}, "a user and a password"),
        ({"enable.ssl.certificate.verification": "false"}, "always verifies"),
        ({"ssl.certificate.pem": "a"}, "its key are needed together"),
        ({"ssl.ca.location": "/nowhere/ca.pem"}, "cannot be read"),
        ({"interceptor.classes": "x"}, "interceptor.classes cannot be translated"),
    ],
)
def test_what_cannot_be_translated_is_refused_with_the_reason(options: dict[str, str], reason: str) -> None:
    with pytest.raises(ConfigInvalid, match=reason):
        java_properties(options)


def test_a_refusal_does_not_show_a_secret() -> None:
    with pytest.raises(ConfigInvalid) as refused:
        java_properties({"security.protocol": "sasl_ssl", "sasl.mechanism": "GSSAPI", "sasl.password": "hush"})
    assert "hush" not in str(refused.value)
