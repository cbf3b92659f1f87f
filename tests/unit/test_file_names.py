"""Names that somebody else chose make no path, no device and no second name of one file."""

from __future__ import annotations

import json
import os
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from headwater.cli.main import main
from headwater.errors import ConfigInvalid
from headwater.file_names import file_name, file_path, folded, require_distinct
from headwater.processing.stores.outbox import state_file

BAD = [
    *("", ".", "..", "../x", "x/..", "x/../y", "/etc/passwd", "//host/x", "x//y", "x/", "a/./b"),
    *("x\0", "x\n", "\x7f", "x\ud800", "C:\\x", "c:x", "x\\y", "..\\x", "\\\\host\\x", "x:stream"),
    *("a*", "a?", "a|b", "<a>"),
    *("con", "CON", "con.txt", "NUL", "nul.yaml", "aux ", "com1", "COM9.log", "lpt3", "x/nul/y", "conin$", "com¹"),
    *("x.", "x ", " x", "a/b.", "x" * 300, "a/" * 700 + "b"),
]


@pytest.mark.parametrize("name", BAD)
def test_names_that_are_no_file_everywhere_are_refused_with_the_name(name: str) -> None:
    with pytest.raises(ConfigInvalid, match="No file can be named after the stream") as refused:
        file_path(name, "stream")
    assert repr(name[:100])[1:-1] in refused.value.message


@pytest.mark.parametrize(
    "name", ["a", "mediawiki.page_change.v1", "eventlogging_Edit", "a/b", "fragment/common", "ünïcode", "...a"]
)
def test_names_as_people_choose_them_are_taken_as_they_are(name: str) -> None:
    assert file_path(name, "stream") == name


def test_a_slash_is_no_part_of_a_file_name() -> None:
    with pytest.raises(ConfigInvalid, match="it has a slash"):
        file_name("a/b", "stream")


@given(st.text(max_size=40))
def test_what_is_taken_stays_below_its_directory_on_any_system(name: str) -> None:
    try:
        taken = file_path(name, "stream")
    except ConfigInvalid:
        return
    for flavour in (PurePosixPath, PureWindowsPath):
        path = flavour("base") / taken
        assert not path.is_absolute()
        assert path.parts[0] == "base"
        assert ".." not in path.parts
        assert not path.drive
    assert os.path.normpath(f"base/{taken}").startswith("base" + os.sep)


@given(st.lists(st.text("aAäÄsSß\u0301", min_size=1, max_size=3), unique=True, max_size=6))
def test_two_names_of_one_file_are_refused_and_no_others(names: list[str]) -> None:
    collide = len({folded(name) for name in names}) < len(names)
    try:
        require_distinct(names, "stream")
        assert not collide
    except ConfigInvalid:
        assert collide


@pytest.mark.parametrize(
    "streams",
    [
        ["../../victim/streams/demo.edit"],
        ["x/../../../outside"],
        ["/absolute"],
        ["nul"],
        ["a\0b"],
        ["a:b"],
        ["demo.edit", "Demo.Edit"],
        ["defaults"],
        ["Services"],
    ],
)
def test_an_import_of_streams_touches_nothing_and_names_the_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, streams: list[str]
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    victim = tmp_path / "victim" / "streams" / "demo.edit.yaml"
    victim.parent.mkdir(parents=True)
    victim.write_text("mine")
    Path("config.json").write_text(json.dumps({"streams": {name: {"schema_title": "demo/edit"} for name in streams}}))
    result = CliRunner().invoke(main, ["streams", "import", "config.json", "--output-dir", "out"])
    assert result.exit_code != 0
    assert any(repr(name)[1:-1] in result.stderr for name in streams)
    assert "Traceback" not in result.stderr
    assert victim.read_text() == "mine"
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["config.json", "demo.edit.yaml"]
    assert not Path("out").exists()


@pytest.mark.parametrize("title", ["con/edit", "page/nul", "aux"])
def test_a_new_schema_is_not_named_after_a_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, title: str) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["schema", "new", title, "--description", "d"])
    assert result.exit_code != 0
    assert "is the name of a device" in result.stderr
    assert not list(tmp_path.rglob("current.yaml"))


@pytest.mark.parametrize("job", ["..", "a/../../b", "nul", "x."])
def test_a_job_is_no_way_out_of_the_directory_of_states(tmp_path: Path, job: str) -> None:
    with pytest.raises(ConfigInvalid):
        state_file(tmp_path, job)
