"""Revisions of XML dumps as events: create and edits of a page, hidden parts, slots, and damaged files."""

from __future__ import annotations

import bz2
import gzip
from pathlib import Path
from typing import Any

import orjson
import pytest

from headwater.errors import ConfigInvalid
from headwater.processing.batch.dumps import dump_events, is_dump

DUMP = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11">
<siteinfo><dbname>exwiki</dbname><base>https://ex.wiki.example/wiki/Main_Page</base></siteinfo>
<page><title>User talk:Ada &amp; Bo</title><ns>3</ns><id>7</id>
<revision><id>1</id><timestamp>2026-01-31T12:00:00Z</timestamp>
<contributor><username>Ada</username><id>5</id></contributor>
<comment>new</comment><model>wikitext</model><format>text/x-wiki</format>
<text bytes="5" sha1="s1">h&#233;re</text><sha1>s1</sha1></revision>
<revision><id>2</id><parentid>1</parentid><timestamp>2026-01-31T12:01:00Z</timestamp>
<contributor><ip>192.0.2.1</ip></contributor>
<minor/><model>wikitext</model><format>text/x-wiki</format><text bytes="0" sha1="s2" /><sha1>s2</sha1>
<content><role>extra</role><origin>2</origin><model>json</model><format>application/json</format>
<text bytes="2" sha1="s3">{}</text>
</content></revision>
<revision><id>3</id><parentid>2</parentid><timestamp>2026-01-31T12:02:00Z</timestamp><contributor deleted="deleted"/>
<comment deleted="deleted"/><text bytes="9" deleted="deleted"/></revision>
</page>
<page><title>Next</title><ns>0</ns><id>8</id><redirect title="Ada"/>
<revision><id>4</id><timestamp>2026-01-31T11:00:00Z</timestamp>
<contributor><username>Bo</username><id>0</id></contributor>
<text>#REDIRECT [[Ada]]</text></revision></page>
</mediawiki>
"""


def events(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in dump_events(path)]


@pytest.mark.parametrize("suffix", [".xml", ".xml.gz", ".xml.bz2"])
def test_each_revision_is_an_event_with_what_can_be_seen_of_it(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"dump{suffix}"
    pack = {".xml": bytes, ".xml.gz": gzip.compress, ".xml.bz2": bz2.compress}[suffix]
    path.write_bytes(pack(DUMP.encode()))
    assert is_dump(path)
    first, second, third, other = events(path)
    assert [one["page_change_kind"] for one in (first, second, third, other)] == ["create", "edit", "edit", "create"]
    assert first["page"] == {"page_id": 7, "page_title": "User_talk:Ada_&_Bo", "namespace_id": 3, "is_redirect": False}
    assert first["meta"]["domain"] == "ex.wiki.example"
    assert first["meta"]["uri"] == "https://ex.wiki.example/wiki/User_talk:Ada_%26_Bo"
    assert first["wiki_id"] == "exwiki"
    assert first["performer"] == {"user_text": "Ada", "user_id": 5}
    assert first["revision"]["content_slots"]["main"]["content_body"] == "hére"
    assert second["revision"]["editor"] == {"user_text": "192.0.2.1"}
    assert second["revision"]["is_minor_edit"]
    assert second["revision"]["rev_size"] == 2
    assert {role: slot["content_body"] for role, slot in second["revision"]["content_slots"].items()} == {
        "main": "",
        "extra": "{}",
    }
    assert "content_body" not in second["prior_state"]["revision"]["content_slots"]["main"]
    hidden = third["revision"]
    assert not any(hidden[f"is_{part}_visible"] for part in ("content", "editor", "comment"))
    assert not {"content_slots", "editor", "comment"} & hidden.keys()
    assert "performer" not in third
    assert other["page"]["is_redirect"]
    assert "prior_state" not in other
    ids = [one["meta"]["id"] for one in events(path)]
    assert ids == [one["meta"]["id"] for one in (first, second, third, other)]
    assert len(set(ids)) == 4


@pytest.mark.parametrize("suffix", [".xml", ".xml.gz", ".xml.bz2"])
def test_a_damaged_dump_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"dump{suffix}"
    pack = {".xml": bytes, ".xml.gz": gzip.compress, ".xml.bz2": bz2.compress}[suffix]
    path.write_bytes(pack(DUMP.encode())[:-30])
    with pytest.raises(ConfigInvalid, match="cannot be read as a dump"):
        events(path)
