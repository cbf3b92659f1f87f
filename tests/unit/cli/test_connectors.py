"""`headwater connectors`: what is listed and shown, and that a new package's tests pass as they are made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from headwater.cli.connectors.scaffold.package import KINDS, Kind, entry_of, files_of
from headwater.cli.main import main
from headwater.config import load_config
from headwater.connectors import registry
from headwater.connectors.registry import (
    ENTRY_POINTS,
    SINKS,
    SOURCES,
    sink_names,
    sink_spec,
    source_names,
    source_spec,
)
from headwater.declaration import parse_declaration
from headwater.processing.declarations import declarations


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["connectors", *words])


def test_every_sink_and_source_is_listed_with_its_kind_and_form() -> None:
    listed = [json.loads(line) for line in run("list", "--json").output.splitlines()]
    assert [one["name"] for one in listed if one["kind"] == "sink"] == sink_names()
    assert [one["name"] for one in listed if one["kind"] == "source"] == source_names()
    assert all(one["installed"] and one["summary"] and one["form"] for one in listed)
    forms = {(one["name"], one["kind"]): one["form"] for one in listed}
    assert (forms["parquet", "sink"], forms["parquet", "source"]) == ("table", "events")
    assert (forms["kafka", "sink"], forms["kafka", "source"]) == ("events", "events")
    lines = [line.split() for line in run("list").output.splitlines()]
    assert lines[0] == ["connector", "kind", "of", "summary"]
    assert ["kafka", "source", "events"] in [line[:3] for line in lines]
    assert {(line[0], line[1]) for line in lines[1:]} == forms.keys()


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
    shown = json.loads(run("show", name, "--kind", "sink", "--json").output)
    assert shown["kind"] == "sink"
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


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_a_source_is_shown_with_its_options_and_an_example(name: str) -> None:
    text = run("show", name, "--kind", "source")
    assert text.exit_code == 0
    shown = json.loads(run("show", name, "--kind", "source", "--json").output)
    assert (shown["kind"], shown["summary"]) == ("source", source_spec(name).summary)
    assert all(option["name"] in text.output for option in (*shown["options"], *shown["common_options"]))
    assert shown["example"] in text.output
    assert {"connector", "stream"} >= {one["name"] for one in shown["common_options"] if one["required"]}
    # The example is one: the connector reads the options that are its own.
    written = yaml.safe_load(shown["example"])
    own = {key: value for key, value in written.items() if key in {one["name"] for one in shown["options"]}}
    assert written.keys() - own.keys() <= {one["name"] for one in shown["common_options"]} | {"connector"}
    source_spec(name).read(own, parse_declaration(shown["example"], file="sources/a.yaml"), ())


def test_a_name_of_a_sink_and_of_a_source_shows_both_unless_one_is_asked_for() -> None:
    both = [json.loads(line)["kind"] for line in run("show", "kafka", "--json").output.splitlines()]
    assert both == ["sink", "source"]
    text = run("show", "kafka").output
    assert text.index("kafka (sink)") < text.index("kafka (source)")
    assert "(source)" not in run("show", "kafka", "--kind", "sink").output
    absent = run("show", "webhook", "--kind", "sink")
    assert absent.exit_code != 0
    assert "There is no sink 'webhook'" in absent.output


@pytest.mark.parametrize(("typed", "meant"), [("duckbd", "duckdb"), ("postgres_cdd", "postgres_cdc")])
def test_an_unknown_connector_names_the_nearest(typed: str, meant: str) -> None:
    shown = run("show", typed)
    assert shown.exit_code != 0
    assert meant in shown.output


@pytest.mark.parametrize("name", ["Acme", "a-b", "a b", "1a", "_a", "a__b", "", "a" * 41, "duckdb"])
def test_a_name_that_cannot_be_is_refused(name: str, tmp_path: Path) -> None:
    made = run("new", "--output-dir", str(tmp_path / "made"), "--", name)
    assert made.exit_code == 2
    assert not (tmp_path / "made").exists()


def test_a_source_may_have_the_name_of_a_sink_and_not_of_a_source(tmp_path: Path) -> None:
    made = run("new", "--kind", "source", "--output-dir", str(tmp_path / "made"), "webhook")
    assert made.exit_code == 2
    assert "There is a source webhook already" in made.output
    assert run("new", "--kind", "source", "--output-dir", str(tmp_path / "made"), "redis").exit_code == 0


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    made = run("new", "acme", "--output-dir", str(tmp_path))
    assert made.exit_code != 0
    assert "is not empty" in made.output
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_tests_of_a_new_package_pass_as_they_are_made(kind: Kind, tmp_path: Path) -> None:
    assert run("new", "acme_store", "--kind", kind, "--output-dir", str(tmp_path / "made")).exit_code == 0
    environment = {**os.environ, "PYTEST_ADDOPTS": "", "NO_PROXY": "*", "PIP_NO_INDEX": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error"]
    done = subprocess.run(
        command, cwd=tmp_path / "made", env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout


def test_new_packages_are_well_typed_and_well_formed(tmp_path: Path) -> None:
    for kind in KINDS:
        run("new", f"acme_{kind}", "--kind", kind, "--output-dir", str(tmp_path / kind))
        rules = ["--isolated", "--no-cache", "--line-length", "120"]
        for verb in (["check", "--select", "E,F,I,B,UP,SIM"], ["format", "--check"]):
            done = subprocess.run(
                [sys.executable, "-m", "ruff", *verb, *rules, "."],
                cwd=tmp_path / kind,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stdout
    folders = [str(tmp_path / kind / part) for kind in KINDS for part in ("src", "tests")]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir", str(tmp_path / "cache"), *folders],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_files_name_the_connector_of_an_installed_package(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    side = entry_of(kind)
    files = files_of("acme_store", kind)
    for path, text in files.items():
        (tmp_path / "made" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "made" / path).write_text(text)
    # As installing the package would write it.
    declared = tomllib.loads(files[Path("pyproject.toml")])["project"]["entry-points"][ENTRY_POINTS[side]]
    source = tmp_path / "made/src"
    info = source / "headwater_acme_store-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: headwater-acme-store\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text(f"[{ENTRY_POINTS[side]}]\nacme_store = {declared['acme_store']}\n")
    monkeypatch.syspath_prepend(str(source))
    try:
        shown = json.loads(run("show", "acme_store", "--json").output)
        assert shown["kind"] == side
        written = yaml.safe_load(shown["example"])
        assert (written["sinks"][0] if side == "sink" else written)["connector"] == "acme_store"
        assert ["acme_store", side] in [line.split()[:2] for line in run("list").output.splitlines()]
    finally:
        for module in (f"headwater_acme_store.{side}", "headwater_acme_store"):
            sys.modules.pop(module, None)
