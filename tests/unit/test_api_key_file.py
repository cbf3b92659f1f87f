"""A file of API keys that somebody edited by hand: what is sound goes on working, the rest is named and left out."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import orjson
import pytest

from headwater.control.api_keys import ApiKeys
from headwater.errors import ConfigInvalid, KeyRequired

DAMAGED: dict[str, dict[str, Any]] = {
    "a hash that is none": {"hash": "é"},
    "an expiry that is no time": {"expires": "tomorrow"},
    "an expiry that is a number": {"expires": 5},
    "scopes that are no list": {"scopes": "streams:read"},
    "an unknown member": {"expire": "2020-01-01"},
    "no name": {"name": 7},
}


@pytest.mark.parametrize("what", DAMAGED)
def test_one_damaged_entry_locks_nobody_else_out(tmp_path: Path, what: str, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "keys.json"
    keys = ApiKeys(path, 60)
    good, bad = keys.create("good", ["streams:read"]), keys.create("bad", ["streams:read"])
    entries = orjson.loads(path.read_bytes())
    path.write_bytes(orjson.dumps([entries[0], entries[1] | DAMAGED[what]]))
    with caplog.at_level(logging.WARNING):
        again = ApiKeys(path, 60)
        assert again.check(f"Bearer {good}", "streams:read") == "good"
    with pytest.raises(KeyRequired):
        again.check(f"Bearer {bad}", "streams:read")
    assert str(path) in caplog.text


@pytest.mark.parametrize("text", ["", "[{", "{}", "5", "null"])
def test_a_file_that_is_no_list_is_an_error_that_names_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigInvalid, match="no list of API keys") as refused:
        ApiKeys(path, 60).check("Bearer hwk_x", "streams:read")
    assert refused.value.file == str(path)
