"""Every failure the stand-in can be made to have, as a client sees it on the wire."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from headwater.testing.eventually import eventually
from headwater.testing.mediawiki import (
    ApiError,
    Close,
    Http,
    MaxLag,
    MediaWikiStandIn,
    RateLimit,
    Slow,
    StandInSettings,
    serving,
)

EN = "en.wikipedia.org"
HEADERS = {"Host": EN, "User-Agent": "stand-in-tests/1.0 (ops@example.org)"}
FORM = {"action": "query", "format": "json", "formatversion": "2", "prop": "revisions", "rvprop": "ids|content"}


def row(rev_id: int, **more: Any) -> dict[str, Any]:
    return {"domain": EN, "page_id": 7, "title": "River", "rev_id": rev_id, "content": f"text {rev_id}"} | more


class Wiki:
    """A stand-in that is served, and a client of it."""

    def __init__(self, stand_in: MediaWikiStandIn, client: httpx.AsyncClient) -> None:
        self.stand_in = stand_in
        self.client = client

    async def ask(self, revids: str = "1", *, path: str = "/w/api.php", **more: Any) -> httpx.Response:
        parameters = FORM | {"revids": revids} | more if path == "/w/api.php" else more
        return await self.client.get(path, params=parameters)

    async def outcome(self, revids: str = "1", **more: Any) -> str:
        """In one word: a status, an API's error, what is wrong with the body, or the client's error."""
        try:
            response = await self.ask(revids, **more)
        except httpx.HTTPError as error:
            return type(error).__name__
        if response.status_code != 200:
            return str(response.status_code)
        try:
            body = response.json()
        except ValueError:
            return "not JSON" if response.content else "empty"
        if "error" in body:
            return str(body["error"]["code"])
        return "badrevids" if "badrevids" in body["query"] else "ok"

    async def outcomes(self, count: int, revids: str = "1", **more: Any) -> list[str]:
        return [await self.outcome(revids, **more) for _ in range(count)]


@pytest.fixture
async def wiki() -> AsyncIterator[Wiki]:
    stand_in = MediaWikiStandIn([row(number) for number in range(1, 61)])
    async with serving(stand_in) as url, httpx.AsyncClient(base_url=url, headers=HEADERS, verify=False) as client:
        yield Wiki(stand_in, client)


# The numbers of the failures are those of the reference page.


async def test_4_1_an_unknown_id_and_one_not_replicated_yet_are_badrevids(wiki: Wiki) -> None:
    assert (await wiki.ask("999")).json() == {
        "batchcomplete": True,
        "query": {"badrevids": {"999": {"revid": 999, "missing": True}}},
    }
    wiki.stand_in.add([row(70, visible_after=time.time() + 3_600)])
    assert await wiki.outcome("70") == "badrevids"
    wiki.stand_in.add([row(70, visible_after=time.time() - 1)])
    assert await wiki.outcome("70") == "ok"


async def test_4_1_a_replica_may_miss_a_revision_for_so_many_requests(wiki: Wiki) -> None:
    wiki.stand_in.set_rules([{"mode": "missing", "revid": 2, "times": 2}])
    first = (await wiki.ask("1|2")).json()["query"]
    assert list(first["badrevids"]) == ["2"]
    assert [item["revid"] for item in first["pages"][0]["revisions"]] == [1]
    assert await wiki.outcomes(3, "2") == ["badrevids", "ok", "ok"]


async def test_4_2_maxlag_is_refused_with_status_200_and_its_headers(wiki: Wiki) -> None:
    wiki.stand_in.set_rules([MaxLag(lag=6.2, times=1)])
    response = await wiki.ask(maxlag="5")
    assert response.status_code == 200
    assert response.headers["Retry-After"] == "5"
    assert response.headers["X-Database-Lag"] == "6"
    assert response.headers["MediaWiki-API-Error"] == "maxlag"
    body = response.json()
    assert list(body) == ["error", "servedby"]
    assert list(body["error"]) == ["code", "info", "host", "lag", "type", "docref"]
    assert body["error"] | {"docref": ""} == {
        "code": "maxlag",
        "info": "Waiting for 10.64.16.7: 6.2 seconds lagged.",
        "host": "10.64.16.7",
        "lag": 6.2,
        "type": "db",
        "docref": "",
    }
    assert await wiki.outcome(maxlag="5") == "ok"


@pytest.mark.parametrize(("maxlag", "retry_after"), [("0", "5"), ("3", "5"), ("5", "5"), ("30", "30")])
async def test_4_2_retry_after_is_maxlag_and_at_least_five(wiki: Wiki, maxlag: str, retry_after: str) -> None:
    wiki.stand_in.set_rules([{"mode": "maxlag", "lag": 31}])
    response = await wiki.ask(maxlag=maxlag)
    assert (response.headers["Retry-After"], response.headers["X-Database-Lag"]) == (retry_after, "31")
    assert response.json()["error"]["info"] == "Waiting for 10.64.16.7: 31 seconds lagged."


async def test_4_2_a_request_without_maxlag_or_with_a_greater_one_is_answered(wiki: Wiki) -> None:
    wiki.stand_in.set_rules([{"mode": "maxlag", "lag": 6.2, "times": 1}])
    assert await wiki.outcome() == "ok"
    assert await wiki.outcome(maxlag="7") == "ok"
    assert (await wiki.ask(path="/w/rest.php/v1/revision/1", maxlag="5")).json()["id"] == 1
    # No budget was spent on these.
    assert await wiki.outcomes(2, maxlag="6") == ["maxlag", "ok"]


async def test_4_2_a_lag_that_is_no_more_than_maxlag_is_borne(wiki: Wiki) -> None:
    wiki.stand_in.set_rules([{"mode": "maxlag", "lag": 6}])
    assert [await wiki.outcome(maxlag=text) for text in ("5", "6")] == ["maxlag", "ok"]


async def test_4_2_a_negative_maxlag_is_refused_without_any_lag(wiki: Wiki) -> None:
    response = await wiki.ask(maxlag="-1")
    assert (response.headers["Retry-After"], response.headers["X-Database-Lag"]) == ("5", "0")
    assert response.json()["error"]["info"] == "Waiting for a database server: 0 seconds lagged."


async def test_4_3_ratelimit_is_429_with_html_and_retry_after(wiki: Wiki) -> None:
    wiki.stand_in.set_rules([RateLimit(times=2)])
    response = await wiki.ask()
    assert (response.status_code, response.headers["Content-Type"]) == (429, "text/html")
    assert response.headers["Retry-After"] == "1"
    assert "Error: 429, Too many requests (f061ab2)" in response.text
    assert await wiki.outcomes(2) == ["429", "ok"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [(7, "7"), ("Wed, 21 Oct 2026 07:28:00 GMT", "Wed, 21 Oct 2026 07:28:00 GMT"), (None, None)],
)
async def test_4_3_retry_after_may_be_seconds_a_date_or_absent(wiki: Wiki, given: Any, expected: str | None) -> None:
    wiki.stand_in.set_rules([{"mode": "ratelimit", "retry_after": given}])
    assert (await wiki.ask()).headers.get("Retry-After") == expected


@pytest.mark.parametrize("status", [500, 502, 503, 504, 403, 404])
async def test_4_4_any_status_comes_with_an_html_page(wiki: Wiki, status: int) -> None:
    wiki.stand_in.set_rules([Http(status=status, headers={"Retry-After": 3, "X-Cache": "miss"}, times=1)])
    response = await wiki.ask()
    assert (response.status_code, response.headers["Content-Type"]) == (status, "text/html")
    assert (response.headers["Retry-After"], response.headers["X-Cache"]) == ("3", "miss")
    assert response.text.startswith("<!DOCTYPE html>")
    assert await wiki.outcome() == "ok"


async def test_4_4_the_status_is_503_where_none_is_given(wiki: Wiki) -> None:
    wiki.stand_in.set_rules([{"mode": "http"}])
    response = await wiki.ask()
    assert (response.status_code, "Retry-After" in response.headers) == (503, False)


async def test_4_5_slow_is_the_right_answer_late(wiki: Wiki) -> None:
    wiki.stand_in.set_rules([Slow(seconds=0.3, times=1)])
    begun = time.monotonic()
    assert await wiki.outcome() == "ok"
    assert time.monotonic() - begun >= 0.3


async def test_4_5_a_slow_answer_holds_back_no_other_connection(wiki: Wiki) -> None:
    wiki.stand_in.set_rules([Slow(seconds=600, revid=1)])
    slow = asyncio.create_task(wiki.outcome("1"))
    await eventually(lambda: wiki.stand_in.requests)
    assert await wiki.outcome("2") == "ok"
    assert not slow.done()
    slow.cancel()
    await asyncio.wait([slow])


async def test_4_5_a_client_that_gives_up_is_in_flight_no_longer(wiki: Wiki) -> None:
    wiki.stand_in.set_rules([Slow(seconds=600, revid=1)])
    with pytest.raises(httpx.ReadTimeout):
        await wiki.client.get("/w/api.php", params=FORM | {"revids": "1"}, timeout=0.05)

    async def is_alone() -> bool:
        await wiki.ask("2")
        return wiki.stand_in.requests[-1].in_flight == 1

    await eventually(is_alone)


async def test_4_6_close_resets_the_connection(wiki: Wiki) -> None:
    wiki.stand_in.set_rules([Close(times=1)])
    assert await wiki.outcomes(2) == ["ReadError", "ok"]
    assert wiki.stand_in.requests[0].status is None


@pytest.mark.parametrize("after_bytes", [0, 1, 20])
async def test_4_6_close_may_end_the_connection_within_the_body(wiki: Wiki, after_bytes: int) -> None:
    wiki.stand_in.set_rules([Close(after_bytes=after_bytes, times=1)])
    assert await wiki.outcomes(2) == ["RemoteProtocolError", "ok"]


async def test_4_7_garbage_is_200_with_json_that_does_not_end(wiki: Wiki) -> None:
    wiki.stand_in.set_rules([{"mode": "garbage", "times": 1}])
    response = await wiki.ask()
    assert (response.status_code, response.text[:8]) == (200, '{"batchc')
    assert response.headers["Content-Type"].startswith("application/json")
    with pytest.raises(ValueError, match=r".+"):
        response.json()
    assert await wiki.outcome() == "ok"


async def test_4_8_empty_is_200_without_a_byte(wiki: Wiki) -> None:
    wiki.stand_in.set_rules([{"mode": "empty", "times": 1}])
    response = await wiki.ask()
    assert (response.status_code, response.content, response.headers["Content-Length"]) == (200, b"", "0")
    assert await wiki.outcome() == "ok"


async def test_4_8_nocontent_is_204(wiki: Wiki) -> None:
    wiki.stand_in.set_rules([{"mode": "nocontent", "times": 1}])
    response = await wiki.ask()
    assert (response.status_code, response.content, "Content-Length" in response.headers) == (204, b"", False)
    assert await wiki.outcome() == "ok"


@pytest.mark.parametrize(
    "code",
    [
        "readonly",
        "ratelimited",
        "internal_api_error_DBQueryError",
        "nosuchrevid",
        "missingtitle",
        "invalidtitle",
        "nosuchpageid",
        "permissiondenied",
        "badvalue",
        "a_code_of_an_extension",
    ],
)
async def test_4_9_api_error_is_200_with_the_code_in_body_and_header(wiki: Wiki, code: str) -> None:
    wiki.stand_in.set_rules([ApiError(code=code, times=1)])
    response = await wiki.ask()
    assert (response.status_code, response.headers["MediaWiki-API-Error"]) == (200, code)
    assert list(response.json()) == ["error", "servedby"]
    assert list(response.json()["error"]) == ["code", "info", "docref"]
    assert response.json()["error"]["code"] == code
    assert response.json()["error"]["info"]
    assert await wiki.outcome() == "ok"


async def test_4_10_hidden_content_is_an_answer_and_no_error(wiki: Wiki) -> None:
    wiki.stand_in.add([row(80, texthidden=True)])
    response = await wiki.ask("80", rvslots="*")
    (item,) = response.json()["query"]["pages"][0]["revisions"]
    assert (response.status_code, item["slots"]) == (200, {"main": {"texthidden": True}})


async def test_4_11_two_large_revisions_take_two_answers(wiki: Wiki) -> None:
    wiki.stand_in.add([row(100, content="x" * 8_000_000), row(101, content="y" * 8_000_000)])
    first = (await wiki.ask("100|101", rvslots="main")).json()
    assert first["continue"] == {"rvcontinue": "101", "continue": "||"}
    assert "12,582,912 bytes" in first["warnings"]["result"]["warnings"]
    assert "batchcomplete" not in first
    second = (await wiki.ask("100|101", rvslots="main", **first["continue"])).json()
    found = [item for body in (first, second) for item in body["query"]["pages"][0]["revisions"]]
    assert [(item["revid"], len(item["slots"]["main"]["content"])) for item in found] == [
        (100, 8_000_000),
        (101, 8_000_000),
    ]
    assert second["batchcomplete"] is True


async def test_4_11_one_revision_larger_than_any_message_is_sent(wiki: Wiki) -> None:
    wiki.stand_in.add([row(100, content="x" * 13_000_000)])
    (item,) = (await wiki.ask("100")).json()["query"]["pages"][0]["revisions"]
    assert len(item["content"]) == 13_000_000


@pytest.mark.parametrize("agent", [None, "", "python-httpx/0.28.1", "Python-urllib/3.11", "python-requests/2"])
@pytest.mark.parametrize("path", ["/w/api.php", "/w/rest.php/v1/revision/1"])
async def test_4_12_a_user_agent_that_says_nothing_is_refused(wiki: Wiki, agent: str | None, path: str) -> None:
    wiki.stand_in.set_rules([{"mode": "slow", "seconds": 600, "times": 1}])
    request = wiki.client.build_request("GET", path, params=FORM | {"revids": "1"})
    del request.headers["User-Agent"]
    if agent is not None:
        request.headers["User-Agent"] = agent
    response = await wiki.client.send(request)
    assert (response.status_code, response.headers["Content-Type"]) == (403, "text/html")
    assert wiki.stand_in.requests[0].status == 403
    # Refused before any rule: its budget is whole.
    assert [hits for _, hits in wiki.stand_in.rules()] == [0]


async def test_4_12_any_user_agent_will_do_where_the_stand_in_says_so() -> None:
    stand_in = MediaWikiStandIn([row(1)], settings=StandInSettings(requires_user_agent=False))
    async with serving(stand_in) as url, httpx.AsyncClient(base_url=url, verify=False) as client:
        response = await client.get("/w/api.php", params=FORM | {"revids": "1"}, headers={"Host": EN})
    assert response.json()["query"]["pages"][0]["pageid"] == 7
    assert str(stand_in.requests[0].user_agent).startswith("python-httpx/")


# Which requests a rule is for


@pytest.mark.parametrize("rule", [Http(revid=25), ApiError(code="readonly", revid=25), Close(revid=25)])
async def test_a_rule_for_one_revision_spoils_the_batch_it_is_in(wiki: Wiki, rule: Any) -> None:
    wiki.stand_in.set_rules([rule])
    batch = "|".join(str(number) for number in range(1, 51))
    expected = {"http": "503", "api_error": "readonly", "close": "ReadError"}[rule.MODE]
    assert await wiki.outcome(batch) == expected
    singly = [await wiki.outcome(str(number)) for number in (24, 25, 26)]
    assert singly == ["ok", expected, "ok"]
    assert [len(one.revids) for one in wiki.stand_in.requests] == [50, 1, 1, 1]
    assert [one.rule for one in wiki.stand_in.requests] == [rule.MODE, None, rule.MODE, None]


async def test_a_rule_may_be_for_a_wiki_a_path_or_several_revisions(wiki: Wiki) -> None:
    wiki.stand_in.set_rules(
        [
            {"mode": "http", "status": 500, "domain": "DE.wikipedia.org"},
            {"mode": "http", "status": 502, "path": "/w/rest.php"},
            {"mode": "http", "status": 504, "revid": [3, 4]},
        ]
    )
    assert await wiki.outcome("1") == "ok"
    assert [await wiki.outcome(revids) for revids in ("3", "1|4", "5")] == ["504", "504", "ok"]
    assert (await wiki.client.get("/w/rest.php/v1/revision/1")).status_code == 502
    german = await wiki.client.get("/w/api.php", params=FORM | {"revids": "1"}, headers={"Host": "de.wikipedia.org"})
    assert german.status_code == 500


async def test_a_rule_for_one_revision_is_also_for_its_rest_and_entity_paths(wiki: Wiki) -> None:
    wiki.stand_in.set_rules([{"mode": "http", "revid": 3}])
    paths = ["/w/rest.php/v1/revision/3", "/w/rest.php/v1/revision/3/html", "/w/rest.php/v1/revision/4"]
    assert [(await wiki.client.get(path)).status_code for path in paths] == [503, 503, 200]
    entity = "/wiki/Special:EntityData/Q2.ttl"
    assert (await wiki.client.get(entity, params={"revision": "3"})).status_code == 503


async def test_the_first_rule_that_matches_and_has_budget_applies(wiki: Wiki) -> None:
    wiki.stand_in.set_rules(
        [
            {"mode": "http", "status": 500, "times": 1},
            {"mode": "http", "status": 502, "revid": 9, "times": 1},
            {"mode": "http", "status": 504, "times": 2},
        ]
    )
    assert await wiki.outcomes(5) == ["500", "504", "504", "ok", "ok"]
    assert await wiki.outcomes(2, "9") == ["502", "ok"]
    assert [hits for _, hits in wiki.stand_in.rules()] == [1, 1, 2]


async def test_without_a_budget_a_rule_applies_to_all(wiki: Wiki) -> None:
    wiki.stand_in.set_rules([{"mode": "empty"}])
    assert await wiki.outcomes(4) == ["empty"] * 4


async def test_pass_lets_requests_through_before_a_failure(wiki: Wiki) -> None:
    wiki.stand_in.set_rules([{"mode": "pass", "times": 2}, {"mode": "http", "times": 1}])
    assert await wiki.outcomes(4) == ["ok", "ok", "503", "ok"]


async def test_every_applies_a_rule_to_each_so_manieth_request(wiki: Wiki) -> None:
    wiki.stand_in.set_rules([{"mode": "http", "every": 3, "times": 2}])
    assert await wiki.outcomes(10) == ["ok", "ok", "503", "ok", "ok", "503", "ok", "ok", "ok", "ok"]


async def test_the_same_requests_have_the_same_outcomes_again(wiki: Wiki) -> None:
    rules = [
        {"mode": "ratelimit", "every": 4},
        {"mode": "garbage", "every": 3},
        {"mode": "missing", "every": 2},
        {"mode": "api_error", "code": "readonly", "every": 5},
    ]
    seen = []
    for _ in range(2):
        wiki.stand_in.set_rules(rules)
        seen.append(await wiki.outcomes(30))
    assert seen[0] == seen[1]
    assert set(seen[0]) == {"429", "not JSON", "badrevids", "readonly", "ok"}


async def test_latency_makes_every_answer_late() -> None:
    stand_in = MediaWikiStandIn([row(1)], settings=StandInSettings(latency_seconds=0.1))
    async with serving(stand_in) as url, httpx.AsyncClient(base_url=url, headers=HEADERS, verify=False) as client:
        begun = time.monotonic()
        await asyncio.gather(*(client.get("/w/api.php", params=FORM | {"revids": "1"}) for _ in range(20)))
        took = time.monotonic() - begun
    assert took >= 0.1
    assert max(one.in_flight for one in stand_in.requests) > 1
