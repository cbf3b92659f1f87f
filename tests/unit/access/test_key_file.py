"""A file of API keys that was edited by hand: valid entries still work, the rest is named and left out."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import orjson
import pytest

from headwater.access import attempts
from headwater.access.api_keys import ApiKeys
from headwater.errors import KeyRequired, KeysDamaged, TooManyRequests

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
    # Whose key it is cannot be known where the hash is damaged: the sentence is the same.
    with pytest.raises(KeysDamaged, match=r"^keys\.json:1: (the key|entry)"):
        again.check(f"Bearer {bad}", "streams:read")
    with pytest.raises(KeysDamaged):
        again.sight(f"Bearer {bad}")
    assert again.check(f"Bearer {good}", "streams:read") == "good"
    assert str(path) in caplog.text


@pytest.mark.parametrize("what", DAMAGED)
def test_a_damaged_entry_outlives_changes_of_other_keys(tmp_path: Path, what: str) -> None:
    path = tmp_path / "keys.json"
    keys = ApiKeys(path, 60)
    keys.create("good", ["streams:read"])
    bad = keys.create("bad", ["streams:read"])
    sound, entry = orjson.loads(path.read_bytes())
    path.write_bytes(orjson.dumps([sound, entry | DAMAGED[what]]))
    again = ApiKeys(path, 60)
    again.create("other", ["streams:read"])
    again.revoke("good")
    assert entry | DAMAGED[what] in orjson.loads(path.read_bytes())
    # Repaired, it is as good as before.
    path.write_bytes(orjson.dumps([entry]))
    assert ApiKeys(path, 60).check(f"Bearer {bad}", "streams:read") == "bad"


def test_a_damaged_entry_goes_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    ApiKeys(path, 60).create("good", ["streams:read"])
    damaged = {"name": "bad", "hash": "é"}
    for change in (lambda keys: keys.revoke("bad"), lambda keys: keys.create("bad", ["streams:read"])):
        path.write_bytes(orjson.dumps([orjson.loads(path.read_bytes())[0], damaged]))
        change(ApiKeys(path, 60))
        assert damaged not in orjson.loads(path.read_bytes())


@pytest.mark.parametrize("text", ["", "[{", "{}", "5", "null"])
def test_a_file_that_is_no_list_is_an_error_that_names_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(text, encoding="utf-8")
    keys = ApiKeys(path, 60)
    for _ in range(2):
        with pytest.raises(KeysDamaged, match="no list of API keys") as refused:
            keys.check("Bearer hwk_x", "streams:read")
    assert str(refused.value).startswith("keys.json: ")
    path.unlink()
    # Once it is repaired, it is read at once.
    with pytest.raises(KeyRequired):
        keys.check("Bearer hwk_x", "streams:read")


@pytest.mark.parametrize("below", ["", "file/"])
def test_a_directory_and_a_file_in_the_way_are_told_likewise(tmp_path: Path, below: str) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").touch()
    path = tmp_path / (f"{below}keys.json" if below else "directory")
    with pytest.raises(KeysDamaged, match="cannot be read"):
        ApiKeys(path, 60).sight("Bearer hwk_x")


def test_an_unknown_key_is_told_nothing_of_entries_whose_hash_is_sound(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    ApiKeys(path, 60).create("bad", ["streams:read"])
    (entry,) = orjson.loads(path.read_bytes())
    path.write_bytes(orjson.dumps([entry | {"expires": "tomorrow"}]))
    with pytest.raises(KeyRequired):
        ApiKeys(path, 60).check("Bearer hwk_x", "streams:read")


def test_attempts_are_limited_for_each_address_and_the_addresses_are_bounded(tmp_path: Path) -> None:
    now = 1_000.0
    keys = ApiKeys(tmp_path / "keys.json", 60, lambda: now, attempts_per_minute_max=3)
    good = f"Bearer {keys.create('good', ['streams:read'])}"
    for _ in range(3):
        with pytest.raises(KeyRequired):
            keys.sight("Bearer hwk_x", "192.0.2.1")
    for refused in ("Bearer hwk_x", good):
        with pytest.raises(TooManyRequests):
            keys.check(refused, "streams:read", "192.0.2.1")
    assert keys.check(good, "streams:read", "192.0.2.2") == "good"
    now += 60.0
    assert keys.check(good, "streams:read", "192.0.2.1") == "good"
    for number in range(attempts.ADDRESSES_MAX + 100):
        with pytest.raises(KeyRequired):
            keys.sight("Bearer hwk_x", f"address {number}")
    assert len(keys._attempts._failed) == attempts.ADDRESSES_MAX
