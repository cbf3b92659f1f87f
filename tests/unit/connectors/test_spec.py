"""What a connector says of itself: options are read as settings are, and packages add connectors of their own."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from headwater.config import load_config
from headwater.connectors.contract import Column, SinkFeatures, TableShape
from headwater.connectors.registry import SINKS, sink_names, sink_spec
from headwater.connectors.sinks.sqlite import SqliteSink
from headwater.connectors.spec import ConfiguredSink, SinkSpec
from headwater.declaration import parse_declaration
from headwater.errors import ConfigInvalid
from headwater.options import fields_of
from headwater.settings import REQUIRED, setting

SHAPE = TableShape("edits", (Column("wiki", "text", "wiki"),))


@dataclass(frozen=True, slots=True)
class Options:
    """What the sink of these tests takes."""

    host: str = setting(REQUIRED, "Where it is.")
    password: str = setting(REQUIRED, "What lets it in.", secret=True)
    batch_rows_max: int = setting(500, "Rows of one statement.", at_least=1, at_most=10_000)


SPEC = SinkSpec(
    name="try",
    summary="A table for tests.",
    options=Options,
    make=lambda options, shape, directory: SqliteSink(directory / options.host, shape),
    features=SinkFeatures(token_in_target=True, upsert=True),
)


def read(text: str) -> Options:
    source = parse_declaration(text, file="streams/edit.yaml")
    options = SPEC.read(source.value["sinks"][0], source, ("sinks", 0))
    assert isinstance(options, Options)
    return options


def test_options_have_their_types_and_defaults() -> None:
    assert read("sinks:\n- {host: a, password: '${env:P}'}\n") == Options("a", "${env:P}", 500)


def test_secrets_are_references_and_are_shown_nowhere(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("hunter2\n")
    config = load_config(tmp_path, environment={})
    for reference, secret in (("${file:password}", "hunter2"), ("${env:PASSWORD}", "hunter3")):
        sink = ConfiguredSink(SPEC, read(f"sinks:\n- {{host: a, password: '{reference}'}}\n"), "streams/edit.yaml:2")
        secrets = config.dereferenced(sink.references, sink.place, {"PASSWORD": "hunter3"})
        assert secrets == {"password": secret}
        assert "hunter" not in repr(sink)
        assert sink.made(SHAPE, secrets, tmp_path).shape == SHAPE


def test_each_secret_in_a_mapping_is_a_reference_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hunter2\n")
    config = load_config(tmp_path, environment={})
    written = {"catalog_secrets": {"token": "${file:token}", "s3.secret-access-key": "${env:KEY}"}, "user": None}
    resolved = {"catalog_secrets": {"token": "hunter2", "s3.secret-access-key": "hunter3"}, "user": None}
    assert config.dereferenced(written, "streams/edit.yaml:2", {"KEY": "hunter3"}) == resolved
    with pytest.raises(ConfigInvalid, match=r"edit\.yaml:2: catalog_secrets: s3\.secret-access-key .*KEY"):
        config.dereferenced(written, "streams/edit.yaml:2", {})


def test_a_secret_that_is_not_there_is_said_with_its_place(tmp_path: Path) -> None:
    config = load_config(tmp_path, environment={})
    for reference, says in (("${env:ABSENT}", "ABSENT"), ("${file:absent}", "absent")):
        with pytest.raises(ConfigInvalid, match=rf"edit\.yaml:2: password .*{says}"):
            config.dereferenced({"password": reference}, "streams/edit.yaml:2", {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sinks:\n- {host: a, pasword: b}\n", 'edit.yaml:2: unknown key "pasword" in sinks.*Did you mean "password"'),
        ("sinks:\n- {host: a}\n", "edit.yaml:2: sinks.* needs password"),
        ("sinks:\n- {}\n", "needs host and password"),
        ("sinks:\n- {host: 1, password: '${env:B}'}\n", "sinks.*host must be text, not 1"),
        ("sinks:\n- {host: a, password: '${env:B}', batch_rows_max: 0}\n", "must be at least 1, not 0"),
        ("sinks:\n- {host: a, password: '${env:B}', batch_rows_max: '7'}\n", "must be a whole number"),
        ("sinks:\n- sqlite\n", "must be a mapping.*host, password, batch_rows_max"),
        ("sinks:\n- {host: a, password: hunter2}\n", "edit.yaml:2: sinks.*password is a secret.* Write .*env:NAME"),
        ("sinks:\n- {host: a, password: 'x${env:A}'}\n", "password is a secret"),
    ],
)
def test_what_cannot_be_read_is_said_with_its_place(text: str, message: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        read(text)
    error = caught.value
    shown = f"{error.file}:{error.line}: {error.message} {error.hint}"
    assert re.search(message, shown), shown
    assert "hunter2" not in shown


@pytest.mark.parametrize("name", sorted(SINKS))
def test_every_sink_says_what_it_is(name: str) -> None:
    spec = sink_spec(name)
    assert (spec.name, spec.extra) == (name, SINKS[name].extra)
    assert spec.summary.endswith(".")
    assert all(field.metadata["meaning"].endswith(".") for field, _ in fields_of(spec.options).values())


def test_an_unknown_sink_names_the_nearest() -> None:
    with pytest.raises(ConfigInvalid) as caught:
        sink_spec("sqllite")
    assert "sqlite" in str(caught.value.hint)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package of somebody else, as the interpreter sees it."""
    (tmp_path / "theirs.py").write_text(
        "from dataclasses import dataclass\n"
        "from headwater.connectors.contract import SinkFeatures\n"
        "from headwater.connectors.sinks.sqlite import SqliteSink\n"
        "from headwater.connectors.spec import SinkSpec\n"
        "@dataclass\nclass Options:\n    path: str = 'x.db'\n"
        "def make(o, s, d):\n    return SqliteSink(d / o.path, s)\n"
        "SPEC = SinkSpec('theirs', 'Theirs.', Options, make, SinkFeatures(True, True))\n"
        "NO_SPEC = 1\n"
    )
    info = tmp_path / "theirs-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[headwater.sinks]\ntheirs = theirs:SPEC\nbroken = theirs:ABSENT\nwrong = theirs:NO_SPEC\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "theirs", raising=False)
    return tmp_path


def test_an_installed_package_adds_a_sink(package: Path) -> None:
    assert {"theirs", *SINKS} <= set(sink_names())
    spec = sink_spec("theirs")
    assert spec.make(spec.options(), SHAPE, package).shape == SHAPE


@pytest.mark.parametrize(("name", "message"), [("broken", "cannot be loaded"), ("wrong", "has no SinkSpec")])
def test_an_entry_point_that_gives_no_sink_is_named(package: Path, name: str, message: str) -> None:
    with pytest.raises(ConfigInvalid, match=message):
        sink_spec(name)
