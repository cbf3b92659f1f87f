"""What `headwater check` says about the settings of a log on Kafka, without asking any broker."""

from __future__ import annotations

from pathlib import Path

import pytest

from headwater.checking.questions import check_project
from headwater.config import load_config


def problems(project: Path, log: str, stream: str = "") -> list[tuple[str | None, int | None, str | None, str]]:
    for name in ("schemas", "streams", "jobs"):
        (project / name).mkdir(exist_ok=True)
    (project / "headwater.yaml").write_text(f"log:\n  url: kafka://127.0.0.1:9\n{log}")
    if stream:
        (project / "streams/edit.yaml").write_text(f"stream: edit\n{stream}")
    found = check_project(load_config(project, environment={})).errors
    return [(one.file, one.line, one.rule, one.message) for one in found]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("linger.mss: 5", "linger.mss is not an option"),
        ("acks: 1", "acks cannot be set"),
        ("enable.idempotence: false", "enable.idempotence cannot be set"),
        ("message.timeout.ms: 5", "message.timeout.ms cannot be set"),
        ("socket.timeout.ms: many", "socket.timeout.ms has a value"),
        ("linger.mss: '${env:NOT_THERE}'\n    linger.msss: 5", "linger.msss is not an option"),
        ("acks: '${env:NOT_THERE}'", "acks cannot be set"),
        ("ssl.ca.location: [a]", "must be a text, a number"),
    ],
)
def test_an_option_that_no_client_takes_is_an_error_with_its_place(tmp_path: Path, options: str, says: str) -> None:
    [(file, line, rule, message)] = problems(tmp_path, f"  kafka:\n    {options}\n")
    assert (file, rule) == ("headwater.yaml", "kafka-option-refused")
    assert line in (3, 4)
    assert says in message


def test_options_with_secrets_that_are_not_here_are_no_error(tmp_path: Path) -> None:
    secret = "    security.protocol: SASL_PLAINTEXT\n    sasl.mechanism: PLAIN\n    sasl.username: u\n"
    assert problems(tmp_path, f"  kafka:\n{secret}    sasl.password: ${{env:NOT_THERE}}\n") == []


def test_more_copies_in_sync_than_there_are_is_an_error_of_settings_and_of_streams(tmp_path: Path) -> None:
    [(file, line, rule, _)] = problems(tmp_path, "  replication_factor: 2\n  min_insync_replicas: 3\n")
    assert (file, line, rule) == ("headwater.yaml", 4, "copies-impossible")
    two = "schema_title: edit\ntransport:\n  kafka:\n    replicas: 2\n"
    found = problems(tmp_path, "  min_insync_replicas: 3\n", two)
    places = [(file, line) for file, line, rule, _ in found if rule == "copies-impossible"]
    assert places == [("streams/edit.yaml", 5)]
    found = problems(tmp_path, "  min_insync_replicas: 2\n", two)
    assert "copies-impossible" not in {rule for _, _, rule, _ in found}
