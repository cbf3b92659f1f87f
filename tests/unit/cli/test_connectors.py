"""`headwater connectors`: what is listed and shown, and that a new package's tests pass as they are made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from headwater.cli.connectors.scaffold import files_of
from headwater.cli.main import main
from headwater.config import load_config
from headwater.connectors import registry
from headwater.connectors.registry import SINKS, sink_names, sink_spec
from headwater.platform import declarations


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["connectors", *words])


def test_every_connector_is_listed_with_its_form() -> None:
    listed = [json.loads(line) for line in run("list", "--json").output.splitlines()]
    assert [one["name"] for one in listed] == sink_names()
    assert all(one["installed"] and one["summary"] and one["features"] for one in listed)
    shown = run("list").output
    assert all(name in shown for name in SINKS)


def test_a_driver_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = registry.Connector("headwater.connectors.sinks.absent_here", extra="absent")
    monkeypatch.setattr(registry, "SINKS", {**SINKS, "absent": absent})
    assert "Install headwater[absent]." in run("list").output
    shown = run("show", "absent")
    assert shown.exit_code != 0
    assert "Install headwater[absent]." in shown.output


@pytest.mark.parametrize("name", sorted(SINKS))
def test_a_connector_is_shown_with_its_options_and_an_example(name: str, tmp_path: Path) -> None:
    text = run("show", name)
    assert text.exit_code == 0
    shown = json.loads(run("show", name, "--json").output)
    assert all(option["name"] in text.output for option in (*shown["options"], *shown["common_options"]))
    # The example is one: a stream file with it is read.
    (tmp_path / "streams").mkdir()
    (tmp_path / "schemas/order").mkdir(parents=True)
    schema = {"title": "order", "$id": "/order/1.0.0", "type": "object", "properties": {"id": {"type": "string"}}}
    (tmp_path / "schemas/order/1.0.0.yaml").write_text(json.dumps(schema))
    (tmp_path / "streams/order.yaml").write_text(f"stream: order\nschema_title: order\n{shown['example']}")
    (job,) = declarations(load_config(tmp_path, environment={}))[1]
    sink = job.writes().sink
    assert sink is not None
    assert sink.spec is sink_spec(name)
    assert "hunter2" not in text.output


def test_an_unknown_connector_names_the_nearest() -> None:
    shown = run("show", "duckbd")
    assert shown.exit_code != 0
    assert "duckdb" in shown.output


@pytest.mark.parametrize("name", ["Acme", "a-b", "a b", "1a", "_a", "a__b", "", "a" * 41, "duckdb"])
def test_a_name_that_cannot_be_is_refused(name: str, tmp_path: Path) -> None:
    made = run("new", "--output-dir", str(tmp_path / "made"), "--", name)
    assert made.exit_code == 2
    assert not (tmp_path / "made").exists()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    made = run("new", "acme", "--output-dir", str(tmp_path))
    assert made.exit_code != 0
    assert "is not empty" in made.output
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_tests_of_a_new_package_pass_as_they_are_made(tmp_path: Path) -> None:
    assert run("new", "acme_store", "--output-dir", str(tmp_path / "made")).exit_code == 0
    environment = {**os.environ, "PYTEST_ADDOPTS": "", "NO_PROXY": "*", "PIP_NO_INDEX": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error"]
    done = subprocess.run(
        command, cwd=tmp_path / "made", env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout


def test_a_stream_file_names_the_connector_of_an_installed_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path, text in files_of("acme_store").items():
        (tmp_path / "made" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "made" / path).write_text(text)
    source = tmp_path / "made/src"
    info = source / "headwater_acme_store-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: headwater-acme-store\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text("[headwater.sinks]\nacme_store = headwater_acme_store.sink:SPEC\n")
    monkeypatch.syspath_prepend(str(source))
    try:
        shown = json.loads(run("show", "acme_store", "--json").output)
        assert yaml.safe_load(shown["example"])["sinks"][0]["connector"] == "acme_store"
        assert "acme_store" in run("list").output
    finally:
        for module in ("headwater_acme_store.sink", "headwater_acme_store"):
            sys.modules.pop(module, None)
