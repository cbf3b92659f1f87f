"""Lookups in wikis against the stand-in: each failure that the API has ends as a value or as a clear error."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from headwater.errors import (
    AnswerInvalid,
    HeadwaterError,
    LookupNotFound,
    LookupNotYet,
    LookupRefused,
    LookupUnavailable,
)
from headwater.lookups import Lookups, Revision, open_lookups
from headwater.settings import LookupsConfig, MediaWikiConfig
from headwater.testing.mediawiki import MediaWikiStandIn, StandInSettings, serving

WIKI = "en.wikipedia.org"
UNKNOWN = 999


def row(rev_id: int, **given: Any) -> dict[str, Any]:
    return {"domain": WIKI, "page_id": 7, "title": "River", "rev_id": rev_id, "content": f"text {rev_id}", **given}


ROWS = [row(number) for number in range(1, 121)]


@asynccontextmanager
async def opened(
    stand_in: MediaWikiStandIn, *, mediawiki: dict[str, Any] | None = None, **settings: Any
) -> AsyncIterator[Lookups]:
    """Lookups in the wikis of the stand-in, with short pauses."""
    given = {"retry_first_seconds": 0.02, "total_seconds_max": 5.0, "read_seconds_max": 0.5, **settings}
    async with serving(stand_in) as url:
        wiki = MediaWikiConfig(url=f"{url}/w/api.php", **(mediawiki or {}))
        async with open_lookups(LookupsConfig(mediawiki=wiki, **given)) as lookups:
            yield lookups


async def look_up(lookups: Lookups, ids: Sequence[int], **options: Any) -> dict[int, Revision | HeadwaterError]:
    """What each lookup returns or raises; anything but an error of ours is raised."""
    found = await asyncio.gather(
        *(lookups.mediawiki.revision(WIKI, one, **options) for one in ids), return_exceptions=True
    )
    for one in found:
        assert isinstance(one, Revision | HeadwaterError), repr(one)
    return dict(zip(ids, found, strict=True))  # type: ignore[arg-type]


def contents(found: dict[int, Revision | HeadwaterError]) -> dict[int, Any]:
    return {one: made.content if isinstance(made, Revision) else type(made).__name__ for one, made in found.items()}


def expected(ids: Sequence[int], **but: Any) -> dict[int, Any]:
    return {one: but.get(f"_{one}", f"text {one}") for one in ids}


async def test_lookups_at_the_same_time_share_requests_of_up_to_fifty() -> None:
    stand_in = MediaWikiStandIn(ROWS)
    async with opened(stand_in) as lookups:
        assert contents(await look_up(lookups, range(1, 121))) == expected(range(1, 121))
    assert [len(request.revids) for request in stand_in.requests] == [50, 50, 20]


async def test_a_revision_has_what_the_wiki_says_about_it() -> None:
    given = row(5, parent_id=4, user="Ann", userid=9, comment="why", tags=["t"], minor=True, dt="2024-01-02T03:04:05Z")
    props = ("ids", "timestamp", "flags", "user", "userid", "comment", "tags", "sha1", "size", "content", "slotsha1")
    async with opened(MediaWikiStandIn([given])) as lookups:
        found = await lookups.mediawiki.revision(WIKI, 5, props=props)
    sha1 = hashlib.sha1(b"text 5").hexdigest()
    assert (found.rev_id, found.parent_id, found.page_id, found.title, found.namespace) == (5, 4, 7, "River", 0)
    assert (found.user, found.user_id, found.comment, found.tags) == ("Ann", 9, "why", ("t",))
    assert (found.timestamp, found.is_minor, found.size, found.sha1) == ("2024-01-02T03:04:05Z", True, 6, sha1)
    assert found.slots["main"].sha1 == sha1


async def test_the_same_revision_asked_for_twice_is_one_id_of_one_request() -> None:
    stand_in = MediaWikiStandIn(ROWS)
    async with opened(stand_in) as lookups:
        first, second = await asyncio.gather(*(lookups.mediawiki.revision(WIKI, 3) for _ in range(2)))
    assert first == second
    assert [list(request.revids) for request in stand_in.requests] == [[3]]


async def test_wikis_are_asked_by_their_domain_and_batches_do_not_mix_them() -> None:
    other = row(1, domain="de.wikipedia.org", content="Text")
    stand_in = MediaWikiStandIn([*ROWS, other])
    async with opened(stand_in) as lookups:
        found = await asyncio.gather(
            lookups.mediawiki.revision(WIKI, 1), lookups.mediawiki.revision("de.wikipedia.org", 1)
        )
    assert [one.content for one in found] == ["text 1", "Text"]
    assert {request.domain for request in stand_in.requests} == {WIKI, "de.wikipedia.org"}


# Unknown and hidden revisions


@pytest.mark.parametrize(
    ("age", "error"), [(0.0, LookupNotYet), (29.0, LookupNotYet), (30.0, LookupNotFound), (None, LookupNotFound)]
)
async def test_an_unknown_revision_is_not_there_yet_while_its_event_is_young(age: float | None, error: type) -> None:
    async with opened(MediaWikiStandIn(ROWS)) as lookups:
        found = await look_up(lookups, [1, UNKNOWN], age=age)
    assert contents(found) == {1: "text 1", UNKNOWN: error.__name__}
    assert getattr(found[UNKNOWN], "retriable", None) is (error is LookupNotYet)


@pytest.mark.parametrize(("age", "error"), [(0.0, LookupNotFound), (5.0, LookupNotYet), (None, LookupNotFound)])
async def test_over_history_an_event_without_age_is_old(age: float | None, error: type) -> None:
    async with serving(MediaWikiStandIn(ROWS)) as url:
        http = Lookups(LookupsConfig(mediawiki=MediaWikiConfig(url=f"{url}/w/api.php")), over_history=True)
        with pytest.raises(error):
            await http.mediawiki.revision(WIKI, UNKNOWN, age=age)
        await http.close()


async def test_a_revision_that_a_replica_has_later_is_found_when_it_is_asked_for_again() -> None:
    stand_in = MediaWikiStandIn([row(1, visible_after=time.time() + 0.3)])
    async with opened(stand_in) as lookups:
        for _ in range(100):
            try:
                found = await lookups.mediawiki.revision(WIKI, 1, age=1.0)
                break
            except LookupNotYet:
                await asyncio.sleep(0.02)
    assert found.content == "text 1"


@pytest.mark.parametrize("suppressed", [False, True])
async def test_hidden_content_is_an_answer_and_not_an_error(suppressed: bool) -> None:
    hidden = row(1, texthidden=True, userhidden=True, commenthidden=True, suppressed=suppressed)
    async with opened(MediaWikiStandIn([hidden, row(2)])) as lookups:
        props = ("ids", "user", "comment", "sha1", "content", "slotsha1")
        found = await look_up(lookups, [1, 2], props=props)
    first = found[1]
    assert isinstance(first, Revision)
    assert (first.content, first.is_text_hidden, first.is_user_hidden, first.is_comment_hidden) == (
        None,
        True,
        True,
        True,
    )
    assert (first.is_suppressed, first.slots["main"].is_hidden) == (suppressed, True)
    assert contents({2: found[2]}) == {2: "text 2"}


@pytest.mark.parametrize(
    "slots", [{"main": {"content": None}}, {"main": None}, None], ids=["textmissing", "missing", "slotsmissing"]
)
async def test_content_that_cannot_be_loaded_is_an_error_that_may_pass(slots: Any) -> None:
    broken = row(2, slots=slots)
    del broken["content"]
    async with opened(MediaWikiStandIn([row(1), broken, row(3)])) as lookups:
        found = await look_up(lookups, [1, 2, 3])
    assert contents(found) == {1: "text 1", 2: "LookupUnavailable", 3: "text 3"}
    assert "revision 2" in str(found[2])


async def test_content_with_another_sha1_than_its_slot_is_refused() -> None:
    wrong = {"domain": WIKI, "page_id": 7, "title": "River", "rev_id": 2}
    slots = {"main": {"content": "text", "sha1": "0" * 31}}
    async with opened(MediaWikiStandIn([row(1), {**wrong, "slots": slots}])) as lookups:
        found = await look_up(lookups, [1, 2])
    assert contents(found) == {1: "text 1", 2: "AnswerInvalid"}


async def test_the_sha1_of_an_event_is_compared_in_either_base() -> None:
    one = hashlib.sha1(b"text 1").hexdigest()
    number, base36 = int(one, 16), ""
    while number:
        number, digit = divmod(number, 36)
        base36 = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + base36
    async with opened(MediaWikiStandIn(ROWS)) as lookups:
        for sha1 in (one, one.upper(), base36.rjust(31, "0")):
            assert (await lookups.mediawiki.revision(WIKI, 1, sha1=sha1)).content == "text 1"
        with pytest.raises(AnswerInvalid, match="SHA-1"):
            await lookups.mediawiki.revision(WIKI, 2, sha1=one)


# Failures of the wiki: every mode of the stand-in

BATCH = tuple(range(1, 21))
SPOILED = 7
ONE_SPOILS = [
    ({"mode": "http", "status": 503}, "LookupUnavailable"),
    ({"mode": "http", "status": 500}, "LookupUnavailable"),
    ({"mode": "http", "status": 502}, "LookupUnavailable"),
    ({"mode": "http", "status": 504}, "LookupUnavailable"),
    ({"mode": "http", "status": 200}, "AnswerInvalid"),
    ({"mode": "http", "status": 403}, "LookupRefused"),
    ({"mode": "http", "status": 414}, "LookupRefused"),
    ({"mode": "http", "status": 404}, "LookupNotFound"),
    ({"mode": "slow", "seconds": 2}, "LookupUnavailable"),
    ({"mode": "close"}, "LookupUnavailable"),
    ({"mode": "close", "after_bytes": 40}, "LookupUnavailable"),
    ({"mode": "garbage"}, "AnswerInvalid"),
    ({"mode": "empty"}, "AnswerInvalid"),
    ({"mode": "nocontent"}, "AnswerInvalid"),
    ({"mode": "missing"}, "LookupNotFound"),
    *(
        ({"mode": "api_error", "code": code}, "LookupUnavailable")
        for code in ("readonly", "internal_api_error_DBQueryError", "internal_api_error_Exception")
    ),
    *(({"mode": "api_error", "code": code}, "LookupNotFound") for code in ("nosuchrevid", "missingtitle")),
    *(({"mode": "api_error", "code": code}, "LookupRefused") for code in ("permissiondenied", "badvalue")),
    ({"mode": "api_error", "code": "ratelimited"}, "LookupUnavailable"),
    ({"mode": "ratelimit", "retry_after": 1}, "LookupUnavailable"),
    ({"mode": "ratelimit", "retry_after": None}, "LookupUnavailable"),
    ({"mode": "maxlag", "lag": 9.5}, "LookupUnavailable"),
    ({"mode": "http", "status": 503, "headers": {"Retry-After": "1"}}, "LookupUnavailable"),
]


def in_words(value: Any) -> str | None:
    return " ".join(map(str, value.values())) if isinstance(value, dict) else None


@pytest.mark.parametrize(("rule", "error"), ONE_SPOILS, ids=in_words)
async def test_when_one_revision_spoils_its_batch_the_others_come_out(rule: dict[str, Any], error: str) -> None:
    stand_in = MediaWikiStandIn(ROWS, rules=[{**rule, "revid": SPOILED}])
    # The one that cannot be had is given up soon, and the pauses that a host may ask for are bounded; the others have
    # the time that they need.
    async with opened(stand_in, pause_seconds_max=0.05, total_seconds_max=60.0) as lookups:
        others = [one for one in BATCH if one != SPOILED]
        found, spoiled = await asyncio.gather(look_up(lookups, others), look_up(lookups, [SPOILED], timeout="1.8s"))
    assert contents({**found, **spoiled}) == expected(BATCH, **{f"_{SPOILED}": error})


@pytest.mark.parametrize(
    ("mode", "error_type"),
    [("empty", "EMPTY_RESPONSE"), ("nocontent", "NO_CONTENT"), ("garbage", "UNEXPECTED_RESPONSE")],
)
async def test_an_answer_that_cannot_be_used_says_why_in_its_class(mode: str, error_type: str) -> None:
    stand_in = MediaWikiStandIn(ROWS, rules=[{"mode": mode}])
    async with opened(stand_in) as lookups:
        with pytest.raises(AnswerInvalid) as caught:
            await lookups.mediawiki.revision(WIKI, 1)
    assert caught.value.error_type == error_type
    assert len(stand_in.requests) == 2, "it is asked for once more"


@pytest.mark.parametrize(
    "rule",
    [
        {"mode": "maxlag", "lag": 6.2},
        {"mode": "ratelimit", "retry_after": 1},
        {"mode": "http", "status": 503},
        {"mode": "slow", "seconds": 2},
        {"mode": "close"},
        {"mode": "garbage"},
        {"mode": "empty"},
        {"mode": "nocontent"},
        {"mode": "api_error", "code": "readonly"},
        {"mode": "api_error", "code": "ratelimited"},
        {"mode": "api_error", "code": "internal_api_error_DBQueryError"},
    ],
    ids=in_words,
)
@pytest.mark.parametrize("ids", [(1,), tuple(range(1, 61))], ids=["one", "sixty"])
async def test_a_failure_that_passes_is_not_noticed(rule: dict[str, Any], ids: tuple[int, ...]) -> None:
    stand_in = MediaWikiStandIn(ROWS, rules=[{**rule, "times": 1}])
    async with opened(stand_in, pause_seconds_max=0.05) as lookups:
        assert contents(await look_up(lookups, ids)) == expected(ids)
    assert stand_in.rules()[0][1] == 1


async def test_a_busy_wiki_is_not_asked_before_it_allows_it() -> None:
    stand_in = MediaWikiStandIn(ROWS, rules=[{"mode": "ratelimit", "retry_after": 1, "times": 1}])
    async with opened(stand_in) as lookups:
        assert contents(await look_up(lookups, range(1, 6))) == expected(range(1, 6))
        later = asyncio.create_task(look_up(lookups, [100]))
        await later
    first, second = stand_in.requests[:2]
    assert second.time - first.time >= 1
    assert [len(request.revids) for request in stand_in.requests] == [5, 5, 1]


async def test_a_storm_of_429_causes_hardly_more_requests_than_pauses() -> None:
    stand_in = MediaWikiStandIn(ROWS, rules=[{"mode": "ratelimit", "retry_after": 60}])
    async with opened(stand_in, total_seconds_max=1.5, pause_seconds_max=0.2) as lookups:
        found = await look_up(lookups, range(1, 121))
    assert set(contents(found).values()) == {"LookupUnavailable"}
    # Three batches at first; then one request after each pause.
    assert len(stand_in.requests) <= 3 + 1.5 / 0.2 + 1


async def test_an_outage_is_not_amplified_by_lookups_that_are_repeated() -> None:
    stand_in = MediaWikiStandIn(ROWS, rules=[{"mode": "http", "status": 500}])
    ids = range(1, 101)
    async with opened(stand_in, retries_per_second_min=0.01) as lookups:
        for _ in range(5):
            assert set(contents(await look_up(lookups, ids)).values()) == {"LookupUnavailable"}
        # Each of the 100 alone, two batches before them, and the retries that are allowed.
        assert len(stand_in.requests) <= 100 * 1.2 + 2 + 10


async def test_after_an_outage_all_lookups_succeed_soon() -> None:
    stand_in = MediaWikiStandIn(ROWS, rules=[{"mode": "http", "status": 500}])
    async with opened(stand_in, retries_per_second_min=20.0) as lookups:
        left = list(range(1, 101))
        for _ in range(3):
            await look_up(lookups, left)
        stand_in.set_rules([])
        began = time.monotonic()
        while left and time.monotonic() - began < 5:
            found = await look_up(lookups, left)
            left = [one for one, made in found.items() if not isinstance(made, Revision)]
            await asyncio.sleep(0.02)
    assert left == []


# Answers in parts


async def test_an_answer_in_parts_is_read_to_its_end() -> None:
    rows = [row(number, content="x" * 4000 + str(number)) for number in range(1, 11)]
    stand_in = MediaWikiStandIn(rows, settings=StandInSettings(result_bytes_max=10_000))
    async with opened(stand_in) as lookups:
        found = await look_up(lookups, range(1, 11))
    assert contents(found) == {number: "x" * 4000 + str(number) for number in range(1, 11)}
    assert len(stand_in.requests) > 1


async def test_ids_that_an_answer_drops_are_asked_for_alone() -> None:
    stand_in = MediaWikiStandIn(ROWS)
    async with opened(stand_in, mediawiki={"revisions_per_request_max": 60}) as lookups:
        assert contents(await look_up(lookups, range(1, 61))) == expected(range(1, 61))


async def test_a_query_is_continued_to_its_end() -> None:
    stand_in = MediaWikiStandIn(ROWS)
    async with opened(stand_in) as lookups:
        answers = await lookups.mediawiki.query(
            WIKI, {"prop": "revisions", "titles": "River", "rvprop": "ids", "rvlimit": 50}
        )
    ids = [one["revid"] for answer in answers for page in answer["query"]["pages"] for one in page["revisions"]]
    assert sorted(ids) == list(range(1, 121))


# What is sent


async def test_requests_name_the_platform_its_contact_and_the_lag_they_accept() -> None:
    stand_in = MediaWikiStandIn(ROWS)
    async with opened(stand_in, contact="ops@example.org") as lookups:
        await lookups.mediawiki.revision(WIKI, 1)
    (request,) = stand_in.requests
    assert request.user_agent is not None
    assert request.user_agent.startswith("Headwater/")
    assert "(ops@example.org)" in request.user_agent
    assert request.params["maxlag"] == "5"
    assert request.request_id


@pytest.mark.parametrize("domain", ["", "a b", "x/../y", "evil.example.org\r\nX: y", "a" * 300, None, "user@host.org"])
async def test_a_domain_that_is_none_is_refused_without_a_request(domain: Any) -> None:
    stand_in = MediaWikiStandIn(ROWS)
    async with opened(stand_in) as lookups:
        with pytest.raises(LookupRefused, match="domain"):
            await lookups.mediawiki.revision(domain, 1)
    assert not stand_in.requests


@pytest.mark.parametrize(
    "domain", ["localhost", "127.0.0.1", "169.254.169.254", "[::1]", "10.0.0.1", "wiki:8080", "0x7f.1"]
)
async def test_machines_inside_are_not_asked_because_an_event_names_them(domain: str) -> None:
    async with open_lookups() as lookups:
        with pytest.raises(LookupRefused, match="domain"):
            await lookups.mediawiki.revision(domain, 1)


@pytest.mark.parametrize("rev_id", [0, -1, 1.5, "1", None, True, 2**63])
async def test_an_id_that_is_none_is_refused_without_a_request(rev_id: Any) -> None:
    async with open_lookups() as lookups:
        with pytest.raises(LookupRefused, match="id of a revision"):
            await lookups.mediawiki.revision(WIKI, rev_id)


# Bounds


async def test_as_many_requests_are_in_flight_per_wiki_as_are_allowed() -> None:
    stand_in = MediaWikiStandIn(ROWS, settings=StandInSettings(latency_seconds=0.05))
    async with opened(stand_in, mediawiki={"requests_per_wiki_max": 2, "revisions_per_request_max": 5}) as lookups:
        assert contents(await look_up(lookups, range(1, 61))) == expected(range(1, 61))
    assert max(request.in_flight for request in stand_in.requests) == 2


async def test_a_lookup_ends_in_its_time_whatever_the_wiki_does() -> None:
    stand_in = MediaWikiStandIn(ROWS, rules=[{"mode": "slow", "seconds": 10}])
    async with opened(stand_in, read_seconds_max=20.0) as lookups:
        began = time.monotonic()
        found = await look_up(lookups, [1, 2], timeout="1s")
        assert time.monotonic() - began < 3
    assert set(contents(found).values()) == {"LookupUnavailable"}


async def test_a_lookup_that_waits_for_other_batches_ends_in_its_time() -> None:
    stand_in = MediaWikiStandIn(ROWS, rules=[{"mode": "slow", "seconds": 10}])
    async with opened(
        stand_in, mediawiki={"requests_per_wiki_max": 1}, read_seconds_max=20.0, total_seconds_max=30.0
    ) as lookups:
        ahead = asyncio.create_task(lookups.mediawiki.revision(WIKI, 1))
        await asyncio.sleep(0.05)
        began = time.monotonic()
        with pytest.raises(LookupUnavailable, match="no answer about revision 2 in time"):
            await lookups.mediawiki.revision(WIKI, 2, timeout="200ms")
        assert time.monotonic() - began < 3
        ahead.cancel()


async def test_a_cancelled_lookup_leaves_the_others_of_its_batch() -> None:
    stand_in = MediaWikiStandIn(ROWS, settings=StandInSettings(latency_seconds=0.1))
    async with opened(stand_in) as lookups:
        given_up = asyncio.create_task(lookups.mediawiki.revision(WIKI, 1))
        kept = asyncio.create_task(lookups.mediawiki.revision(WIKI, 2))
        await asyncio.sleep(0.03)
        given_up.cancel()
        assert (await kept).content == "text 2"
        assert (await lookups.mediawiki.revision(WIKI, 1)).content == "text 1"


async def test_lookups_that_are_closed_leave_nothing_behind() -> None:
    stand_in = MediaWikiStandIn(ROWS, rules=[{"mode": "slow", "seconds": 5}])
    async with opened(stand_in, read_seconds_max=20.0) as lookups:
        waiting = asyncio.create_task(lookups.mediawiki.revision(WIKI, 1))
        await asyncio.sleep(0.05)
        await lookups.close()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert [task for task in others if "headwater.lookups" in repr(task)] == []


async def test_a_revision_that_is_cached_is_asked_for_once() -> None:
    stand_in = MediaWikiStandIn(ROWS)
    async with opened(stand_in) as lookups:
        for _ in range(3):
            assert contents(await look_up(lookups, [1, 2], cache="10m")) == expected([1, 2])
        await look_up(lookups, [UNKNOWN], cache="10m")
        await look_up(lookups, [UNKNOWN], cache="10m")
    assert [list(request.revids) for request in stand_in.requests] == [[1, 2], [UNKNOWN], [UNKNOWN]]


async def test_revisions_gives_each_by_its_id() -> None:
    stand_in = MediaWikiStandIn(ROWS)
    async with opened(stand_in) as lookups:
        found = await lookups.mediawiki.revisions(WIKI, [2, 1, UNKNOWN, 2])
        stand_in.set_rules([{"mode": "http", "status": 500}])
        with pytest.raises(LookupUnavailable):
            await lookups.mediawiki.revisions(WIKI, [3])
    assert {one: made and made.content for one, made in found.items()} == {2: "text 2", 1: "text 1", UNKNOWN: None}
