"""Canaries for intakes that ask for an API key: each is sent its own key, which nobody else is shown."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from end_to_end.test_monitoring import CANARY, TEMPLATE, canaries_in, conditions, started
from headwater.cli.main import main
from headwater.errors import ConfigInvalid
from headwater.monitoring.canary_sender import ACCEPTED
from headwater.platform import Platform
from headwater.testing.eventually import eventually
from headwater.web.server import serving

FAR = (
    "stream: far\nschema_title: demo/edit\nproduce: {destination_event_service: away}\n"
    "transport: {topic_prefixes: [eqiad.]}\n"
)


def made_project(directory: Path, *, canary: str = "") -> Path:
    made = shutil.copytree(TEMPLATE, directory)
    shutil.rmtree(made / "jobs")
    for file in (made / "streams").glob("*.yaml"):
        file.unlink()
    (made / "jobs").mkdir()
    (made / "streams" / "far.yaml").write_text(FAR + canary)
    return made


@pytest.fixture
async def remote(tmp_path: Path) -> AsyncIterator[tuple[Platform, str]]:
    """The intake of another datacenter, which asks for a key."""
    settings = {"intake.keys": "required", "intake.topic_prefix": "eqiad.", "monitoring.canaries": False}
    platform = await started(made_project(tmp_path / "remote"), **settings)
    async with serving(platform) as address:
        yield platform, address
    await platform.stop()


@pytest.fixture
def project(tmp_path: Path, remote: tuple[Platform, str]) -> Path:
    made = made_project(tmp_path / "local", canary=CANARY)
    (made / "streams" / "services.yaml").write_text(f"away: {{eqiad: '{remote[1]}'}}\n")
    return made


def journey_error(platform: Platform) -> str | None:
    track = platform.monitor.canaries.tracks.get(("far", "eqiad.far"))
    return track.error if track is not None else None


async def test_a_canary_is_sent_with_the_key_of_its_intake(project: Path, remote: tuple[Platform, str]) -> None:
    there, address = remote
    (project / "secret").write_text(there.keys.create("canaries", ["events:write"]) + "\n")
    platform = await started(project, **{"monitoring.canary_keys": {address: "${file:secret}"}})
    try:
        await eventually(
            lambda: ACCEPTED in getattr(platform.monitor.canaries.tracks.get(("far", "eqiad.far")), "passed", ())
        )
        assert await canaries_in(there, "eqiad.far") > 0
    finally:
        await platform.stop()


async def test_without_a_key_and_with_a_key_for_another_intake_it_is_refused(
    project: Path, remote: tuple[Platform, str]
) -> None:
    there, address = remote
    (project / "secret").write_text(there.keys.create("canaries", ["events:write"]))
    port = int(address.rpartition(":")[2])
    other = {f"http://127.0.0.1:{port - 1}": "${file:secret}", f"https://127.0.0.1:{port}": "${file:secret}"}
    platform = await started(project, **{"monitoring.canary_keys": other})
    try:
        await eventually(lambda: conditions(platform)["far"] == "broken")
        await eventually(lambda: "401" in (journey_error(platform) or ""))
        assert await canaries_in(there, "eqiad.far") == 0
    finally:
        await platform.stop()


async def test_a_key_is_shown_nowhere(project: Path, remote: tuple[Platform, str]) -> None:
    _, address = remote
    secret = "hwk_" + "s" * 43
    (project / "secret").write_text(secret)
    platform = await started(project, **{"monitoring.canary_keys": {address: "${file:secret}"}})
    try:
        await eventually(lambda: "401" in (journey_error(platform) or ""))
        told = [str(one) for one in platform.monitor.streams()]
        assert secret not in "".join([*told, repr(platform.config), platform.telemetry.render().decode()])
    finally:
        await platform.stop()


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"http://there": "${env:HEADWATER_NOT_SET}"}, "which is not set"),
        ({"http://there": "${file:nothing}"}, "cannot be"),
        ({"http://there": "${file:empty}"}, "which is empty"),
        ({"http://there": "${file:two}"}, "not an API key"),
        ({"http://there": "hwk_in_the_settings"}, "contains the key itself"),
        ({"http://there": 5}, "contains the key itself"),
        ({"there": "${env:HOME}"}, "not the address"),
        ({"ftp://there": "${env:HOME}"}, "not the address"),
        ({"http://there:99999": "${env:HOME}"}, "not the address"),
        ({"http://there": "${env:HOME}", "http://there:80/v1/events": "${env:HOME}"}, "two keys"),
    ],
)
async def test_an_unavailable_key_is_reported_at_the_start(tmp_path: Path, keys: dict[str, object], said: str) -> None:
    made = made_project(tmp_path / "local", canary=CANARY)
    (made / "empty").write_text("\n")
    (made / "two").write_text("hwk_a hwk_b")
    with pytest.raises(ConfigInvalid, match=said) as raised:
        await started(made, **{"monitoring.canary_keys": keys})
    assert "hwk_" not in str(raised.value)


async def test_the_command_sends_the_key_too(project: Path, remote: tuple[Platform, str]) -> None:
    there, address = remote
    (project / "secret").write_text(there.keys.create("canaries", ["events:write"]))
    arguments = ["canary", "run", "--project", str(project), "--server", "http://127.0.0.1:1"]
    refused = await asyncio.to_thread(CliRunner().invoke, main, arguments)
    assert refused.exit_code == 1
    (project / "headwater.yaml").write_text(f"monitoring:\n  canary_keys: {{'{address}': '${{file:secret}}'}}\n")
    sent = await asyncio.to_thread(CliRunner().invoke, main, arguments)
    assert (sent.exit_code, sent.output) == (0, "accepted  eqiad.far\n")
