"""What the stand-in's wikis answer when nothing fails: routing, the Action API, REST, entities, links, the log."""

from __future__ import annotations

import hashlib
import html
from typing import Any
from urllib.parse import urlencode

import orjson
import pytest

from headwater.testing.mediawiki import MediaWikiStandIn, StandInSettings
from headwater.testing.mediawiki.exchange import Answer, Request

AGENT = "stand-in-tests/1.0 (ops@example.org)"
EN = "en.wikipedia.org"
ALL = "ids|flags|timestamp|user|userid|size|sha1|contentmodel|comment|content|slotsize|slotsha1|tags|roles"
TEXT = "The '''river''' Ēnns"


def revision(rev_id: int, **more: Any) -> dict[str, Any]:
    row = {"domain": EN, "page_id": 7, "title": "River", "rev_id": rev_id, "dt": f"2024-05-01T00:00:{rev_id % 60:02}Z"}
    return row | {"content": f"{TEXT} {rev_id}"} | more


def ask(stand_in: MediaWikiStandIn, path: str = "/w/api.php", *, host: str = EN, **parameters: Any) -> Answer:
    headers = {"host": host, "user-agent": AGENT}
    return stand_in.answer(Request("GET", path, urlencode(parameters), headers))


def api(stand_in: MediaWikiStandIn, *, host: str = EN, **parameters: Any) -> dict[str, Any]:
    form = {"action": "query", "format": "json", "formatversion": 2} | parameters
    answer = ask(stand_in, host=host, **form)
    assert answer.status == 200
    body: dict[str, Any] = orjson.loads(answer.body)
    return body


def revisions(stand_in: MediaWikiStandIn, **parameters: Any) -> list[dict[str, Any]]:
    pages = api(stand_in, prop="revisions", **parameters)["query"]["pages"]
    return [item for page in pages for item in page.get("revisions", ())]


def error(stand_in: MediaWikiStandIn, **parameters: Any) -> tuple[str, str]:
    body = api(stand_in, **parameters)
    assert set(body) == {"error", "servedby"}
    return body["error"]["code"], body["error"]["info"]


# Routing


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"host": "en.wikipedia.org"}, "en.wikipedia.org"),
        ({"host": "EN.Wikipedia.org:6500"}, "en.wikipedia.org"),
        ({"host": "127.0.0.1:6500", "x-fake-domain": "de.wikipedia.org"}, "de.wikipedia.org"),
        ({"host": "localhost:6500", "x-fake-domain": "de.wikipedia.org"}, "de.wikipedia.org"),
        ({"host": "[::1]:6500", "x-fake-domain": "de.wikipedia.org"}, "de.wikipedia.org"),
        ({"host": "en.wikipedia.org", "x-fake-domain": "de.wikipedia.org"}, "en.wikipedia.org"),
        ({"host": "127.0.0.1:6500"}, "127.0.0.1"),
        ({}, ""),
    ],
)
def test_the_host_chooses_the_wiki_and_x_fake_domain_on_loopback(headers: dict[str, str], expected: str) -> None:
    assert Request("GET", "/", headers=headers).domain == expected


def test_wikis_have_their_own_revisions() -> None:
    stand_in = MediaWikiStandIn([revision(1, content="here"), revision(1, domain="de.wikipedia.org", content="dort")])
    texts = [revisions(stand_in, host=host, revids=1, rvprop="content") for host in (EN, "de.wikipedia.org")]
    assert [item["content"] for (item,) in texts] == ["here", "dort"]
    assert "pages" not in api(stand_in, host="fr.wikipedia.org", prop="revisions", revids=1)["query"]


# Form and parameters


def test_parameters_come_in_the_query_or_in_a_form() -> None:
    stand_in = MediaWikiStandIn([revision(1)])
    form = {"action": "query", "format": "json", "formatversion": "2", "prop": "revisions", "revids": "1"}
    headers = {"host": EN, "user-agent": AGENT, "content-type": "application/x-www-form-urlencoded; charset=utf-8"}
    posted = stand_in.answer(Request("POST", "/w/api.php", "", headers, urlencode(form).encode()))
    assert posted.body == ask(stand_in, **form).body
    mixed = Request("POST", "/w/api.php", "action=query&format=json", headers, urlencode(form).encode())
    assert stand_in.answer(mixed).body == posted.body


def test_a_body_that_is_not_a_form_is_refused() -> None:
    headers = {"host": EN, "user-agent": AGENT, "content-type": "application/json"}
    answer = MediaWikiStandIn().answer(Request("POST", "/w/api.php", "", headers, b"{}"))
    assert orjson.loads(answer.body)["error"]["code"] == "unserved-by-stand-in"


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"format": "xml"}, "unserved-by-stand-in"),
        ({"formatversion": "1"}, "unserved-by-stand-in"),
        ({"generator": "allpages"}, "unserved-by-stand-in"),
        ({"gapfrom": "A"}, "unserved-by-stand-in"),
        ({"rvstart": "2024-01-01T00:00:00Z"}, "unserved-by-stand-in"),
        ({"rvcontentformat-main": "text/x-wiki"}, "unserved-by-stand-in"),
        ({"action": "foo"}, "badvalue"),
        ({"action": ""}, "missingparam"),
        ({"revids": "1|x"}, "badinteger"),
        ({"maxlag": "x"}, "badinteger"),
        ({"revids": "1", "titles": "River"}, "multisource"),
        ({"revids": "1", "rvdir": "sideways"}, "badvalue"),
        ({"revids": "1", "rvlimit": "5"}, "invalidparammix"),
        ({"revids": "1", "rvdir": "newer"}, "invalidparammix"),
        ({"titles": "River|Delta", "rvlimit": "5"}, "invalidparammix"),
        ({"titles": "River", "rvlimit": "x"}, "badinteger"),
        ({"revids": "1", "rvcontinue": "x"}, "badcontinue"),
        ({"titles": "River", "rvlimit": "5", "rvcontinue": "1"}, "badcontinue"),
        ({"list": "backlinks"}, "missingparam"),
        ({"list": "backlinks", "bltitle": "A[b"}, "invalidtitle"),
        ({"list": "backlinks", "bltitle": "A", "blcontinue": "1|x"}, "badcontinue"),
        ({"prop": "transcludedin", "titles": "A", "ticontinue": "1"}, "badcontinue"),
    ],
)
def test_wrong_parameters_are_refused_with_the_code(parameters: dict[str, str], expected: str) -> None:
    stand_in = MediaWikiStandIn([revision(1), revision(2, page_id=8, title="Delta")])
    form = {"action": "query", "format": "json", "formatversion": "2", "prop": "revisions"} | parameters
    answer = ask(stand_in, **form)
    body = orjson.loads(answer.body)
    assert (answer.status, body["error"]["code"], answer.headers["MediaWiki-API-Error"]) == (200, expected, expected)
    assert list(body) == ["error", "servedby"]
    assert body["error"]["docref"].startswith(f"See https://{EN}/w/api.php for API usage.")


@pytest.mark.parametrize(
    ("query", "form"),
    [("&".join("a=1" for _ in range(1_001)), b""), ("", b"a=" + b"1" * 1_048_576), ("", b"&".join([b"a=1"] * 1_001))],
)
def test_too_many_parameters_are_refused_and_not_kept(query: str, form: bytes) -> None:
    headers = {"host": EN, "user-agent": AGENT, "content-type": "application/x-www-form-urlencoded"}
    stand_in = MediaWikiStandIn()
    answer = stand_in.answer(Request("POST", "/w/api.php", query, headers, form))
    assert orjson.loads(answer.body)["error"]["code"] == "unserved-by-stand-in"
    assert stand_in.requests[0].params == {}


@pytest.mark.parametrize(
    ("name", "value"), [("links_per_answer", 0), ("values_max", -1), ("latency_seconds", -0.1), ("connections_max", 0)]
)
def test_a_setting_out_of_range_is_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least"):
        StandInSettings(**{name: value})


def test_an_unknown_action_is_named() -> None:
    assert error(MediaWikiStandIn(), action="foo") == ("badvalue", 'Unrecognized value for parameter "action": foo.')
    assert error(MediaWikiStandIn(), action="streamconfigs")[0] == "badvalue"


def test_misspelled_parameters_and_values_are_warned_of() -> None:
    body = api(MediaWikiStandIn([revision(1)]), prop="revisions|foo", revids=1, rvprops="ids", rvprop="ids|contents")
    assert {module: one["warnings"] for module, one in body["warnings"].items()} == {
        "main": "Unrecognized parameter: rvprops.",
        "query": 'Unrecognized value for parameter "prop": foo.',
        "revisions": 'Unrecognized value for parameter "rvprop": contents.',
    }
    assert body["query"]["pages"][0]["revisions"] == [{"revid": 1, "parentid": 0}]


# Revisions by id


@pytest.mark.parametrize(("high", "limit"), [(False, 50), (True, 500)])
def test_one_id_more_than_the_limit_is_refused(high: bool, limit: int) -> None:
    stand_in = MediaWikiStandIn([revision(1)], settings=StandInSettings(high_limits=high))
    ids = [str(number) for number in range(1, limit + 2)]
    assert len(api(stand_in, prop="revisions", revids="|".join(ids[:-1]))["query"]["badrevids"]) == limit - 1
    refused = api(stand_in, prop="revisions", revids="|".join(ids))["error"]
    assert refused["code"] == "toomanyvalues"
    assert refused["info"] == f'Too many values supplied for parameter "revids". The limit is {limit}.'
    assert (refused["parameter"], refused["limit"], refused["lowlimit"], refused["highlimit"]) == (
        "revids",
        limit,
        50,
        500,
    )


def test_ids_may_be_separated_by_the_unit_separator() -> None:
    stand_in = MediaWikiStandIn([revision(1), revision(2)])
    assert [item["revid"] for item in revisions(stand_in, revids="\x1f1\x1f2")] == [1, 2]


def test_revisions_come_in_order_of_their_ids_under_their_page_and_once() -> None:
    rows = [revision(3), revision(1), revision(2, page_id=5, title="Delta")]
    pages = api(MediaWikiStandIn(rows), prop="revisions", revids="3|2|1|3", rvprop="ids")["query"]["pages"]
    assert pages == [
        {"pageid": 5, "ns": 0, "title": "Delta", "revisions": [{"revid": 2, "parentid": 0}]},
        {
            "pageid": 7,
            "ns": 0,
            "title": "River",
            "revisions": [{"revid": 1, "parentid": 0}, {"revid": 3, "parentid": 0}],
        },
    ]


def test_an_unknown_revision_is_a_badrevid_without_pages() -> None:
    body = ask(
        MediaWikiStandIn([revision(1)]),
        action="query",
        format="json",
        formatversion=2,
        prop="revisions",
        revids=999,
    ).body
    assert body == b'{"batchcomplete":true,"query":{"badrevids":{"999":{"revid":999,"missing":true}}}}'


def test_a_request_for_known_and_unknown_revisions_has_both() -> None:
    found = api(MediaWikiStandIn([revision(1)]), prop="revisions", revids="999|1|998")["query"]
    assert list(found) == ["badrevids", "pages"]
    assert list(found["badrevids"]) == ["999", "998"]
    assert [item["revid"] for page in found["pages"] for item in page["revisions"]] == [1]


def test_a_revision_of_a_deleted_page_is_not_found() -> None:
    stand_in = MediaWikiStandIn([revision(1, page_deleted=True)])
    assert list(api(stand_in, prop="revisions", revids=1)["query"]) == ["badrevids"]
    assert api(stand_in, titles="River")["query"]["pages"] == [{"ns": 0, "title": "River", "missing": True}]


def test_a_lagging_revision_is_found_from_its_moment_on() -> None:
    now = [1_000.0]
    rows = [revision(1), revision(2, visible_after=1_000.5)]
    stand_in = MediaWikiStandIn(rows, clock=lambda: now[0])
    assert list(api(stand_in, prop="revisions", revids=2)["query"]["badrevids"]) == ["2"]
    assert [item["revid"] for item in revisions(stand_in, titles="River")] == [1]
    now[0] = 1_000.5
    assert "badrevids" not in api(stand_in, prop="revisions", revids=2)["query"]
    assert [item["revid"] for item in revisions(stand_in, titles="River")] == [2]


# What is shown of a revision


def test_by_default_a_revision_has_ids_time_flags_comment_and_user() -> None:
    (item,) = revisions(MediaWikiStandIn([revision(1, comment="began")]), revids=1)
    assert list(item.items()) == [
        ("revid", 1),
        ("parentid", 0),
        ("minor", False),
        ("user", "Example"),
        ("timestamp", "2024-05-01T00:00:01Z"),
        ("comment", "began"),
    ]


def test_keys_come_in_the_order_of_the_api() -> None:
    row = revision(1, user="192.0.2.7", userid=0, minor=True, tags=["mobile"], comment="c")
    (item,) = revisions(MediaWikiStandIn([row]), revids=1, rvprop=ALL, rvslots="main")
    assert list(item) == [
        "revid",
        "parentid",
        "minor",
        "user",
        "anon",
        "userid",
        "timestamp",
        "size",
        "sha1",
        "roles",
        "slots",
        "comment",
        "tags",
    ]
    assert (item["anon"], item["userid"], item["minor"], item["tags"]) == (True, 0, True, ["mobile"])
    assert list(item["slots"]["main"]) == ["size", "sha1", "contentmodel", "contentformat", "content"]


@pytest.mark.parametrize(
    ("properties", "keys"),
    [
        ("ids", ["revid", "parentid"]),
        ("flags", ["minor"]),
        ("timestamp", ["timestamp"]),
        ("user", ["user"]),
        ("userid", ["userid"]),
        ("size", ["size"]),
        ("sha1", ["sha1"]),
        ("comment", ["comment"]),
        ("tags", ["tags"]),
        ("roles", ["roles"]),
        ("contentmodel", ["slots"]),
        ("content", ["slots"]),
        ("slotsize", ["slots"]),
        ("slotsha1", ["slots"]),
        ("", []),
    ],
)
def test_each_property_is_shown_by_its_name(properties: str, keys: list[str]) -> None:
    (item,) = revisions(MediaWikiStandIn([revision(1)]), revids=1, rvprop=properties, rvslots="*")
    assert list(item) == keys


def test_the_sha1_is_in_base_16_as_is_that_of_a_slot() -> None:
    (item,) = revisions(MediaWikiStandIn([revision(1)]), revids=1, rvprop="sha1|slotsha1|content", rvslots="main")
    digest = hashlib.sha1(f"{TEXT} 1".encode()).hexdigest()
    assert item["sha1"] == item["slots"]["main"]["sha1"] == digest
    assert len(digest) == 40


MEDIAINFO = {"contentmodel": "wikibase-mediainfo", "content": '{"type":"mediainfo"}', "origin_rev_id": 1, "size": 99}


@pytest.mark.parametrize(
    ("asked", "roles"),
    [("main", ["main"]), ("mediainfo", ["mediainfo"]), ("main|mediainfo", ["main", "mediainfo"]), ("*", None)],
)
def test_slots_are_those_asked_for(asked: str, roles: list[str] | None) -> None:
    row = revision(1, content=None, slots={"mediainfo": MEDIAINFO, "main": {"content": TEXT}})
    (item,) = revisions(MediaWikiStandIn([row]), revids=1, rvprop="content|slotsize", rvslots=asked)
    assert list(item["slots"]) == (roles or ["main", "mediainfo"])
    if "mediainfo" in item["slots"]:
        assert item["slots"]["mediainfo"] == {
            "size": 99,
            "contentmodel": "wikibase-mediainfo",
            "contentformat": "application/json",
            "content": '{"type":"mediainfo"}',
        }


def test_a_slot_a_revision_has_not_is_left_out() -> None:
    (item,) = revisions(MediaWikiStandIn([revision(1)]), revids=1, rvprop="content", rvslots="mediainfo")
    assert item == {"slots": {}}


def test_without_rvslots_the_content_stands_on_the_revision() -> None:
    (item,) = revisions(MediaWikiStandIn([revision(1)]), revids=1, rvprop="ids|content")
    assert list(item.items()) == [
        ("revid", 1),
        ("parentid", 0),
        ("contentformat", "text/x-wiki"),
        ("contentmodel", "wikitext"),
        ("content", f"{TEXT} 1"),
    ]


# Hidden, missing, unreadable


def test_hidden_content_is_said_to_be_hidden() -> None:
    stand_in = MediaWikiStandIn([revision(1, texthidden=True, sha1="1", size=9)])
    (item,) = revisions(stand_in, revids=1, rvprop="ids|content|sha1|size|slotsha1", rvslots="main")
    assert item == {
        "revid": 1,
        "parentid": 0,
        "size": 9,
        "sha1hidden": True,
        "slots": {"main": {"sha1hidden": True, "texthidden": True}},
    }
    (item,) = revisions(stand_in, revids=1, rvprop="contentmodel|content", rvslots="*")
    assert item == {"slots": {"main": {"contentmodel": "wikitext", "texthidden": True}}}
    (item,) = revisions(stand_in, revids=1, rvprop="content")
    assert item == {"texthidden": True}


def test_hidden_users_and_comments_are_left_out_and_said_to_be_hidden() -> None:
    row = revision(1, userhidden=True, commenthidden=True, user="Secret", comment="secret")
    answer = ask(
        MediaWikiStandIn([row]),
        action="query",
        format="json",
        formatversion=2,
        prop="revisions",
        revids=1,
        rvprop="user|userid|comment",
    )
    assert b"ecret" not in answer.body
    (item,) = orjson.loads(answer.body)["query"]["pages"][0]["revisions"]
    assert item == {"userhidden": True, "commenthidden": True}


@pytest.mark.parametrize(
    ("asked", "is_said"), [("ids|content", True), ("sha1", True), ("user", False), ("ids|size|comment", False)]
)
def test_an_oversighted_revision_is_suppressed_where_something_asked_for_is_hidden(asked: str, is_said: bool) -> None:
    row = revision(1, texthidden=True, suppressed=True)
    (item,) = revisions(MediaWikiStandIn([row]), revids=1, rvprop=asked, rvslots="main")
    assert item.get("suppressed", False) is is_said


def test_an_editor_whom_the_data_leave_out_counts_as_hidden() -> None:
    (item,) = revisions(MediaWikiStandIn([revision(1, user=None, userid=0)]), revids=1, rvprop="user|userid")
    assert item == {"userhidden": True}


@pytest.mark.parametrize(
    ("slots", "expected"),
    [
        ({"main": {"contentmodel": "wikitext"}}, {"slots": {"main": {"textmissing": True}}}),
        ({"main": None}, {"slots": {"main": {"missing": True}}}),
        (None, {"slotsmissing": True}),
    ],
)
def test_content_that_cannot_be_loaded_is_said_to_be_missing(slots: Any, expected: dict[str, Any]) -> None:
    row = revision(1, content=None, slots=slots)
    (item,) = revisions(MediaWikiStandIn([row]), revids=1, rvprop="content", rvslots="main")
    assert item == expected


# Pages by title and id


def test_a_title_gives_the_latest_revision_and_is_normalized() -> None:
    found = api(MediaWikiStandIn([revision(1), revision(2)]), prop="revisions", titles="river", rvprop="ids")["query"]
    assert found["normalized"] == [{"fromencoded": False, "from": "river", "to": "River"}]
    assert [item["revid"] for item in found["pages"][0]["revisions"]] == [2]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("no_such_page", ("No such page", 0)),
        ("talk:no such", ("Talk:No such", 1)),
        ("image:x.png", ("File:X.png", 6)),
        (" :  River  bed#part ", ("River bed", 0)),
        ("wikipedia:about", ("Wikipedia:About", 4)),
        ("Odd:name", ("Odd:name", 0)),
    ],
)
def test_titles_are_normalized(given: str, expected: tuple[str, int]) -> None:
    stand_in = MediaWikiStandIn([revision(1, page_id=9, title="Wikipedia:Village pump", ns=4)])
    found = api(stand_in, titles=given)["query"]
    changed = [{"fromencoded": False, "from": given, "to": expected[0]}] if given != expected[0] else None
    assert found.get("normalized") == changed
    assert found["pages"] == [{"ns": expected[1], "title": expected[0], "missing": True}]


@pytest.mark.parametrize("given", ["A[b", ["a", "A<b"][1], "Talk:", "x" * 256, "A{b}", "A\x01"])
def test_a_title_no_page_can_have_is_invalid(given: str) -> None:
    (entry,) = api(MediaWikiStandIn(), titles=given)["query"]["pages"]
    assert list(entry) == ["title", "invalidreason", "invalid"]
    assert (entry["title"], entry["invalid"]) == (given, True)
    assert entry["invalidreason"].startswith("The requested page title ")


def test_pages_by_id_and_a_missing_one() -> None:
    pages = api(MediaWikiStandIn([revision(1)]), prop="revisions", pageids="123|7", rvprop="ids")["query"]["pages"]
    assert pages == [
        {"pageid": 123, "missing": True},
        {"pageid": 7, "ns": 0, "title": "River", "revisions": [{"revid": 1, "parentid": 0}]},
    ]


def test_a_moved_page_is_found_under_its_new_title_only() -> None:
    stand_in = MediaWikiStandIn([revision(1), revision(2, title="Stream")])
    assert api(stand_in, titles="River")["query"]["pages"][0].get("missing") is True
    assert api(stand_in, titles="Stream")["query"]["pages"][0]["pageid"] == 7
    assert api(stand_in, prop="revisions", revids=1)["query"]["pages"][0]["title"] == "Stream"


# Continuation


def paged(stand_in: MediaWikiStandIn, **parameters: Any) -> tuple[list[int], list[dict[str, Any]]]:
    """Every id, following `continue` to the end, and the answers."""
    ids: list[int] = []
    answers: list[dict[str, Any]] = []
    more: dict[str, Any] = {}
    while True:
        body = api(stand_in, prop="revisions", **parameters | more)
        answers.append(body)
        ids += [item["revid"] for page in body["query"]["pages"] for item in page.get("revisions", ())]
        if "continue" not in body:
            return ids, answers
        more = body["continue"]


@pytest.mark.parametrize("direction", ["newer", "older"])
@pytest.mark.parametrize("limit", ["1", "3", "7", "max"])
def test_a_history_is_listed_whole_and_in_order(direction: str, limit: str) -> None:
    stand_in = MediaWikiStandIn([revision(number) for number in range(1, 8)])
    ids, answers = paged(stand_in, titles="River", rvlimit=limit, rvdir=direction)
    assert ids == (list(range(1, 8)) if direction == "newer" else list(range(7, 0, -1)))
    assert [("batchcomplete" in one) for one in answers] == [False] * (len(answers) - 1) + [True]
    if limit == "3":
        assert answers[0]["continue"] == {
            "rvcontinue": "20240501000004|4",
            "continue": "||",
        }


def test_revisions_of_one_second_are_told_apart_by_their_ids() -> None:
    stand_in = MediaWikiStandIn([revision(number, dt="2024-05-01T00:00:00Z") for number in range(1, 6)])
    assert paged(stand_in, titles="River", rvlimit=2)[0] == [5, 4, 3, 2, 1]


@pytest.mark.parametrize(
    ("properties", "high", "expected"), [("ids", False, 60), ("ids|content", False, 50), ("content", True, 60)]
)
def test_max_is_fifty_when_content_is_asked_for(properties: str, high: bool, expected: int) -> None:
    rows = [revision(number, dt="2024-05-01T00:00:00Z") for number in range(1, 61)]
    stand_in = MediaWikiStandIn(rows, settings=StandInSettings(high_limits=high))
    for limit in ("max", "500"):
        assert len(revisions(stand_in, titles="River", rvlimit=limit, rvprop=properties)) == expected
    warned = api(stand_in, prop="revisions", titles="River", rvlimit=501)["warnings"]["revisions"]["warnings"]
    assert warned == 'The value "501" for parameter "rvlimit" must be between 1 and 500.'


def test_without_a_limit_a_history_has_ten() -> None:
    stand_in = MediaWikiStandIn([revision(number) for number in range(1, 21)])
    assert [item["revid"] for item in revisions(stand_in, titles="River", rvdir="newer")] == list(range(1, 11))


def test_a_result_that_would_be_too_large_is_truncated_with_a_warning() -> None:
    rows = [revision(10, content="x" * 800), revision(11, content="y" * 800)]
    stand_in = MediaWikiStandIn(rows, settings=StandInSettings(result_bytes_max=1_258))
    body = api(stand_in, prop="revisions", revids="10|11", rvprop="ids|content", rvslots="main")
    assert list(body) == ["continue", "warnings", "query"]
    assert body["continue"] == {"rvcontinue": "11", "continue": "||"}
    assert body["warnings"] == {
        "result": {
            "warnings": "This result was truncated because it would otherwise be larger than the limit of 1,258 bytes."
        }
    }
    ids, answers = paged(stand_in, revids="10|11", rvprop="ids|content", rvslots="main")
    assert (ids, len(answers)) == ([10, 11], 2)


def test_the_limit_of_a_result_is_that_of_the_wikis() -> None:
    assert StandInSettings().result_bytes_max == 12_582_912


def test_one_revision_beyond_the_limit_is_sent_all_the_same() -> None:
    rows = [revision(10, content="x" * 800), revision(11, content="y" * 800)]
    stand_in = MediaWikiStandIn(rows, settings=StandInSettings(result_bytes_max=100))
    assert paged(stand_in, revids="10|11", rvprop="ids|content")[0] == [10, 11]


def test_the_latest_revisions_of_several_pages_are_truncated_too() -> None:
    rows = [revision(10, content="x" * 800), revision(11, page_id=8, title="Delta", content="y" * 800)]
    stand_in = MediaWikiStandIn(rows, settings=StandInSettings(result_bytes_max=1_258))
    ids, answers = paged(stand_in, titles="River|Delta", rvprop="ids|content")
    assert (ids, answers[0]["continue"]["rvcontinue"]) == ([10, 11], "8|11")


# Site information


def test_siteinfo_has_the_wiki_and_its_namespaces() -> None:
    stand_in = MediaWikiStandIn([revision(1, wiki_id="enwiki"), revision(2, title="Wikipedia:X", page_id=9, ns=4)])
    found = api(stand_in, meta="siteinfo", siprop="general|namespaces")["query"]
    assert found["general"]["servername"] == EN
    assert (found["general"]["wikiid"], found["general"]["lang"]) == ("enwiki", "en")
    assert found["namespaces"]["0"] == {"id": 0, "case": "first-letter", "name": "", "content": True}
    assert found["namespaces"]["4"]["name"] == "Wikipedia"
    assert found["namespaces"]["4"]["canonical"] == "Project"
    assert list(api(stand_in, meta="siteinfo")["query"]) == ["general"]


# REST


def test_rest_has_a_revision_with_its_source() -> None:
    row = revision(5, title="User talk:A b", ns=3, minor=True, comment="c")
    answer = ask(MediaWikiStandIn([row]), "/w/rest.php/v1/revision/5")
    assert answer.headers["Content-Type"].startswith("application/json")
    assert list(orjson.loads(answer.body).items()) == [
        ("id", 5),
        ("size", len(f"{TEXT} 5".encode())),
        ("minor", True),
        ("timestamp", "2024-05-01T00:00:05Z"),
        ("content_model", "wikitext"),
        ("page", {"id": 7, "key": "User_talk:A_b", "title": "User talk:A b"}),
        ("user", {"id": 1, "name": "Example"}),
        ("comment", "c"),
        ("source", f"{TEXT} 5"),
    ]


def test_rest_hides_users_and_comments() -> None:
    rows = [revision(5, userhidden=True, commenthidden=True), revision(6, user="192.0.2.7", userid=0)]
    stand_in = MediaWikiStandIn(rows)
    hidden = orjson.loads(ask(stand_in, "/w/rest.php/v1/revision/5").body)
    assert (hidden["user"], hidden["comment"]) == (None, None)
    assert orjson.loads(ask(stand_in, "/w/rest.php/v1/revision/6").body)["user"] == {"id": None, "name": "192.0.2.7"}


def test_rest_has_html_with_an_etag() -> None:
    stand_in = MediaWikiStandIn([revision(5, content="a < b"), revision(6, html="<p>rendered</p>")])
    answer = ask(stand_in, "/w/rest.php/v1/revision/5/html")
    assert answer.headers["Content-Type"].startswith("text/html")
    assert answer.headers["ETag"].startswith('"5/')
    assert answer.headers["ETag"].endswith('"')
    assert html.escape("a < b") in answer.body.decode()
    assert ask(stand_in, "/w/rest.php/v1/revision/6/html").body == b"<p>rendered</p>"


@pytest.mark.parametrize(
    ("path", "status", "key"),
    [
        ("/w/rest.php/v1/revision/999", 404, "rest-nonexistent-revision"),
        ("/w/rest.php/v1/revision/999/html", 404, "rest-nonexistent-revision"),
        ("/w/rest.php/v1/revision/1", 403, "rest-permission-denied-revision"),
        ("/w/rest.php/v1/revision/1/html", 403, "rest-permission-denied-revision"),
        ("/w/rest.php/v1/revision/2", 404, "rest-nonexistent-revision"),
        ("/w/rest.php/v1/revision/x", 400, "parameter-validation-failed"),
        ("/w/rest.php/v1/page/River", 404, "rest-no-match"),
    ],
)
def test_rest_refuses_with_an_error_key(path: str, status: int, key: str) -> None:
    stand_in = MediaWikiStandIn([revision(1, texthidden=True), revision(2, content=None, slots={"main": {}})])
    answer = ask(stand_in, path)
    body = orjson.loads(answer.body)
    assert (answer.status, body["errorKey"], body["httpCode"]) == (status, key, status)
    assert body["httpReason"] == {400: "Bad Request", 403: "Forbidden", 404: "Not Found"}[status]


# Entities


ENTITIES = [
    {"domain": "www.wikidata.org", "entity": "Q2", "rev_id": 1, "turtle": "wd:Q2 a wikibase:Item ."},
    {"domain": "www.wikidata.org", "entity": "Q2", "rev_id": 2, "turtle": "wd:Q2 a wikibase:Thing ."},
    {"domain": "www.wikidata.org", "entity": "Q3", "rev_id": 3, "turtle": ""},
    {"domain": "www.wikidata.org", "entity": "Q4", "rev_id": 4, "turtle": None},
]


@pytest.mark.parametrize(
    ("entity", "revision", "status", "body"),
    [
        ("Q2", 1, 200, b"wd:Q2 a wikibase:Item ."),
        ("Q2", 2, 200, b"wd:Q2 a wikibase:Thing ."),
        ("Q2", None, 200, b"wd:Q2 a wikibase:Thing ."),
        ("Q3", 3, 200, b""),
        ("Q4", 4, 204, b""),
        ("Q2", 9, 404, None),
        ("Q9", None, 404, None),
    ],
)
def test_entities_are_turtle(entity: str, revision: int | None, status: int, body: bytes | None) -> None:
    asked = {"flavor": "dump"} | ({"revision": revision} if revision else {})
    answer = ask(MediaWikiStandIn(ENTITIES), f"/wiki/Special:EntityData/{entity}.ttl", host="www.wikidata.org", **asked)
    assert answer.status == status
    if body is not None:
        assert answer.body == body
    if status == 200:
        assert answer.headers["Content-Type"].startswith("text/turtle")


# Links


def pages_that_use(kind: str, count: int) -> list[dict[str, Any]]:
    return [
        {"domain": EN, "page_id": 100 + number, "title": f"Page {number}", kind: ["Target", "target"]}
        for number in range(count)
    ]


@pytest.mark.parametrize(("kind", "name", "prefix"), [("links", "backlinks", "bl"), ("images", "imageusage", "iu")])
@pytest.mark.parametrize("per_answer", [1, 2, 3, 500])
def test_lists_of_links_go_on_where_the_answer_ends(kind: str, name: str, prefix: str, per_answer: int) -> None:
    stand_in = MediaWikiStandIn(pages_that_use(kind, 3), settings=StandInSettings(links_per_answer=per_answer))
    found: list[dict[str, Any]] = []
    more: dict[str, Any] = {}
    answers = 0
    while True:
        body = api(stand_in, list=name, **{f"{prefix}title": "Target", f"{prefix}limit": "max"} | more)
        found += body["query"][name]
        # Complete is the batch of pages, of which a list has none.
        assert body["batchcomplete"] is True
        answers += 1
        if "continue" not in body:
            break
        more = body["continue"]
        assert list(more) == [f"{prefix}continue", "continue"]
        assert more["continue"] == "-||"
    assert found == [{"pageid": 100 + number, "ns": 0, "title": f"Page {number}"} for number in range(3)]
    assert answers == -(-3 // per_answer)


@pytest.mark.parametrize("per_answer", [1, 2, 500])
def test_transclusions_go_on_where_the_answer_ends(per_answer: int) -> None:
    rows = [
        *({"domain": EN, "page_id": 100 + n, "title": f"Page {n}", "templates": ["Template:T"]} for n in range(3)),
        {"domain": EN, "page_id": 200, "title": "Talk:Z", "templates": ["Template:Other"]},
        revision(1, page_id=50, title="Template:T", ns=10),
    ]
    stand_in = MediaWikiStandIn(rows, settings=StandInSettings(links_per_answer=per_answer))
    found: list[tuple[str, int]] = []
    more: dict[str, Any] = {}
    while True:
        body = api(stand_in, prop="transcludedin", titles="Template:T|Template:Other", **more)
        for page in body["query"]["pages"]:
            found += [(page["title"], one["pageid"]) for one in page.get("transcludedin", ())]
        if "continue" not in body:
            assert body["batchcomplete"] is True
            break
        assert "batchcomplete" not in body
        more = body["continue"]
        assert more["continue"] == "||"
    assert sorted(found) == [
        ("Template:Other", 200),
        ("Template:T", 100),
        ("Template:T", 101),
        ("Template:T", 102),
    ]


def test_links_are_limited_and_chosen_by_namespace() -> None:
    rows = [*pages_that_use("links", 3), {"domain": EN, "page_id": 9, "title": "Talk:A", "links": ["Target"]}]
    stand_in = MediaWikiStandIn(rows)
    assert len(api(stand_in, list="backlinks", bltitle="Target", bllimit=2)["query"]["backlinks"]) == 2
    talk = api(stand_in, list="backlinks", bltitle="Target", blnamespace=1)["query"]["backlinks"]
    assert talk == [{"pageid": 9, "ns": 1, "title": "Talk:A"}]
    assert api(stand_in, list="backlinks", bltitle="Nowhere")["query"]["backlinks"] == []


# What is not there


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/w/index.php", 404), ("PUT", "/w/api.php", 405)])
def test_other_paths_and_methods_have_an_html_page(method: str, path: str, status: int) -> None:
    headers = {"host": EN, "user-agent": AGENT}
    answer = MediaWikiStandIn().answer(Request(method, path, "", headers))
    assert (answer.status, answer.headers["Content-Type"]) == (status, "text/html")


# The log


def test_the_log_has_what_a_test_asks_about() -> None:
    stand_in = MediaWikiStandIn([revision(1)], clock=lambda: 42.5)
    headers = {"host": EN, "user-agent": AGENT, "x-request-id": "abc"}
    stand_in.answer(Request("GET", "/w/api.php", "action=query&revids=1|999|1", headers))
    stand_in.finished()
    stand_in.answer(Request("GET", "/w/rest.php/v1/revision/1/html", "", headers))
    first, second = stand_in.requests
    assert (first.number, first.time, first.method, first.domain) == (1, 42.5, "GET", EN)
    assert (first.path, first.params) == ("/w/api.php", {"action": "query", "revids": "1|999|1"})
    assert (first.user_agent, first.request_id, first.revids) == (AGENT, "abc", (1, 999))
    assert (second.number, second.path, second.revids) == (2, "/w/rest.php/v1/revision/1/html", (1,))
    assert (second.status, second.in_flight, second.rule) == (200, 1, None)


def test_the_log_is_bounded_and_counts_on() -> None:
    stand_in = MediaWikiStandIn(settings=StandInSettings(requests_kept_max=2))
    for _ in range(5):
        ask(stand_in)
    assert [one.number for one in stand_in.requests] == [4, 5]
