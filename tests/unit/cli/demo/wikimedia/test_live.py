"""Changes of a real wiki: which are followed, how they are posted, and what is said without a network."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headwater.cli.demo.wikimedia.live import change_of, live_changes
from headwater.errors import LogUnavailable


def _change(**changed: Any) -> dict[str, Any]:
    return {
        "$schema": "/mediawiki/page/change/1.3.0",
        "meta": {"stream": "mediawiki.page_change.v1", "id": "a", "domain": "en.wikipedia.org", "offset": 1, "dt": "x"},
        "dt": "2026-01-31T12:00:00Z",
        "changelog_kind": "update",
        "page_change_kind": "edit",
        "wiki_id": "enwiki",
        "page": {"page_id": 7, "page_title": "River", "namespace_id": 0},
        "revision": {"rev_id": 12, "rev_dt": "2026-01-31T12:00:00Z"},
        "something_new": 1,
        **changed,
    }


def test_an_edit_of_an_article_is_posted_with_the_schema_of_the_project() -> None:
    found = change_of(json.dumps(_change()))
    assert found is not None
    assert found["$schema"] == "/mediawiki/page/change/1.2.0"
    # The platform says when it has received it.
    assert found["meta"] == {"stream": "mediawiki.page_change.v1", "id": "a", "domain": "en.wikipedia.org"}
    assert found["revision"] == _change()["revision"]
    assert "something_new" not in found


@pytest.mark.parametrize(
    "data",
    [
        "not JSON",
        "[]",
        json.dumps(_change(wiki_id="dewiki")),
        json.dumps(_change(page_change_kind="delete")),
        json.dumps(_change(page={"page_id": 7, "page_title": "Talk:River", "namespace_id": 1})),
        json.dumps(_change(meta={"domain": "canary", "stream": "mediawiki.page_change.v1"})),
    ],
)
def test_others_are_not_followed(data: str) -> None:
    assert change_of(data) is None


async def test_without_a_network_it_says_so_and_what_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headwater.client.subscription.PAUSE_SECONDS_FIRST", 0.001)
    with pytest.raises(LogUnavailable, match="stream cannot be read") as raised:
        # Nothing listens at the discard port.
        await anext(live_changes("http://127.0.0.1:9/v2/stream/mediawiki.page_change.v1"))
    assert "leave out --live" in str(raised.value.hint)
