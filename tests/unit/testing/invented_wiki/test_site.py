"""The invented wiki: what its API answers about edits, the events it posts, its cache, and what it refuses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import orjson
import pytest

from headwater.testing.invented_wiki import InventedWiki
from headwater.testing.invented_wiki.reading import rendered
from headwater.testing.invented_wiki.site import InventedSite
from headwater.testing.mediawiki.exchange import Answer, Request

DOMAIN = "waters.wiki.example"
NOW = 1_769_860_800.123


class Wiki:
    """A wiki under test, and the events that it has posted."""

    def __init__(self) -> None:
        self.posted: list[Mapping[str, Any]] = []
        self.site = InventedSite(InventedWiki("waterwiki", DOMAIN, clock=lambda: NOW), self._post)

    def _post(self, events: Sequence[Mapping[str, Any]]) -> None:
        self.posted += events

    def ask(self, method: str, path: str, query: str = "", body: bytes = b"", **headers: str) -> Answer:
        sent = {"host": DOMAIN, "user-agent": "tests/1.0 (ops@example.org)"}
        if body:
            sent["content-type"] = "application/x-www-form-urlencoded"
        answer = self.site.answer(Request(method, path, query, {**sent, **headers}, body))
        self.site.finished()
        return answer

    def edit(self, headers: Mapping[str, str] | None = None, **fields: str) -> dict[str, Any]:
        form = {"title": "River", "text": "A river.", "user": "Ada", "summary": "Begin", "token": "+\\", **fields}
        query = "action=edit&format=json&formatversion=2"
        answer = self.ask("POST", "/w/api.php", query, urlencode(form).encode(), **(headers or {}))
        assert answer.status == 200
        found: dict[str, Any] = orjson.loads(answer.body)
        return found

    def revisions(self, **parameters: Any) -> list[dict[str, Any]]:
        asked = {"action": "query", "format": "json", "formatversion": 2, "prop": "revisions", **parameters}
        body = orjson.loads(self.ask("GET", "/w/api.php", urlencode(asked)).body)
        return [one for page in body["query"]["pages"] for one in page.get("revisions", ())]

    def page(self, path: str = "/wiki/River") -> tuple[int, str | None, str]:
        answer = self.ask("GET", path)
        return answer.status, answer.headers.get("X-Cache"), answer.body.decode()


@pytest.fixture
def wiki() -> Wiki:
    return Wiki()


def test_an_edit_is_a_revision_that_the_api_has_and_that_three_events_tell_of(wiki: Wiki) -> None:
    first = wiki.edit()["edit"]
    second = wiki.edit(text="A river flows.", summary="Say what it does")["edit"]
    assert (first["new"], first["oldrevid"], second["oldrevid"]) == (True, 0, first["newrevid"])
    assert "new" not in second
    (found,) = wiki.revisions(revids=second["newrevid"], rvprop="ids|content|comment|user|sha1", rvslots="main")
    assert found["slots"]["main"]["content"] == "A river flows."
    assert (found["parentid"], found["user"], found["comment"]) == (first["newrevid"], "Ada", "Say what it does")
    action, change, purge = wiki.posted[3:]
    assert (action["action"], action["revision"]["rev_id"]) == ("edit", second["newrevid"])
    assert action["dt"] == "2026-01-31T12:00:00.123Z"
    assert "content_body" not in action["revision"]["content_slots"]["main"]
    assert (change["type"], change["revision"]) == ("edit", {"old": first["newrevid"], "new": second["newrevid"]})
    assert change["length"] == {"old": 8, "new": 14}
    assert (purge["meta"]["uri"], purge["meta"]["id"]) == (f"https://{DOMAIN}/wiki/River", second["purge_id"])
    assert len({event["meta"]["request_id"] for event in (action, change, purge)}) == 1


def test_an_edit_that_changes_nothing_is_no_revision(wiki: Wiki) -> None:
    wiki.edit()
    assert wiki.edit(text="A river.\n\n")["edit"] == {"result": "Success", "title": "River", "nochange": True}
    assert len(wiki.posted) == 3


def test_a_title_is_normalized_as_in_mediawiki(wiki: Wiki) -> None:
    wiki.edit(title="alder_brook")
    assert wiki.edit(title="Alder brook", text="Another text")["edit"]["title"] == "Alder brook"
    assert wiki.site.wiki.titles == ["Alder brook"]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"title": "A[b"}, "invalidtitle"),
        ({"title": ""}, "missingparam"),
        ({"text": " \n"}, "emptypage"),
        ({"text": "x" * 200_001}, "contenttoobig"),
        ({"token": "another"}, "badtoken"),
        ({"section": "new"}, "unserved-by-stand-in"),
    ],
)
def test_what_is_wrong_with_an_edit_is_an_error_of_the_api(wiki: Wiki, fields: dict[str, str], code: str) -> None:
    assert wiki.edit(**fields)["error"]["code"] == code
    assert wiki.posted == []


def test_a_page_of_another_site_cannot_edit(wiki: Wiki) -> None:
    strange = wiki.edit({"origin": "https://elsewhere.example", "host": "127.0.0.1:8081"})
    assert strange["error"]["code"] == "badtoken"
    own = wiki.edit({"origin": "http://127.0.0.1:8081", "host": "127.0.0.1:8081"})
    assert own["edit"]["result"] == "Success"


def test_an_edit_is_posted_not_got(wiki: Wiki) -> None:
    answer = wiki.ask("GET", "/w/api.php", "action=edit&format=json&formatversion=2&title=River")
    assert orjson.loads(answer.body)["error"]["code"] == "mustbeposted"


def test_a_page_is_seen_as_it_was_until_a_purge_reaches_the_cache(wiki: Wiki) -> None:
    wiki.edit()
    assert wiki.page()[:2] == (200, "miss")
    wiki.edit(text="A river flows.")
    status, cache, page = wiki.page()
    assert (status, cache, "flows" in page) == (200, "hit", False)
    assert orjson.loads(wiki.ask("PURGE", "/wiki/River").body) == {"purged": True}
    assert orjson.loads(wiki.ask("PURGE", "/wiki/River").body) == {"purged": False}
    status, cache, page = wiki.page()
    assert (cache, "flows" in page) == ("miss", True)
    assert wiki.page("/wiki/Lake")[0] == 404


def test_the_same_path_written_otherwise_is_the_same_page_of_the_cache(wiki: Wiki) -> None:
    wiki.edit(title="Alder Brook: a walk", text="Text")
    assert wiki.page("/wiki/Alder_Brook%3A_a_walk")[1] == "miss"
    assert wiki.page("/wiki/Alder_Brook:_a_walk")[1] == "hit"


def test_wikitext_is_read_as_people_read_it_and_never_as_html() -> None:
    page = rendered(
        "'''River''' [[Lake|a lake]].<ref>{{cite book|title=Waters|year=2019}}</ref>\n\n== Course ==\nSteep."
    )
    assert page.splitlines() == [
        "<p><b>River</b> <span class='link'>a lake</span>.<sup>[1]</sup></p>",
        "<h2>Course</h2>",
        "<p>Steep.</p>",
    ]
    assert "<li>Waters, 2019</li>" in rendered("A<ref>{{cite book|title=Waters|year=2019}}</ref>\n\n{{reflist}}")
    hostile = rendered(
        "<script>alert(1)</script>[[<img src=x onerror=alert(1)>]]<ref><b onclick=x></ref>\n\n{{reflist}}"
    )
    assert "<script" not in hostile
    assert "<img" not in hostile
    assert "<b " not in hostile
