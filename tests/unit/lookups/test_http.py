"""The HTTP client of jobs: what it sends, what it returns, and how each failure ends."""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from typing import Any

import pytest

from headwater.errors import AnswerInvalid, LookupNotFound, LookupRefused, LookupUnavailable
from headwater.lookups import open_lookups
from headwater.retry_after import retry_after_seconds
from unit.lookups.service import OK, Answering, Asked, answer, asking, serving

SECRET = "hunter2"


def always(made: bytes | None) -> Answering:
    async def answering(_: Asked) -> bytes | None:
        return made

    return answering


def first(*made: bytes | None, then: bytes = OK) -> Answering:
    """These answers, one after the other, and `then` after them."""
    left = list(made)

    async def answering(_: Asked) -> bytes | None:
        return left.pop(0) if left else then

    return answering


async def test_after_one_refusal_as_many_requests_as_before_are_in_flight_again() -> None:
    """Also if requests that were sent before it are refused one after the other, when the pause is over."""
    running, most, number = 0, [0], 0

    async def answering(_: Asked) -> bytes:
        nonlocal running, number
        running, number = running + 1, number + 1
        mine = number
        most[-1] = max(most[-1], running)
        try:
            await asyncio.sleep(0.12 * (mine - 10) if 10 <= mine < 14 else 0.002)
            return answer(429, Retry_After="0") if 10 <= mine < 14 else OK
        finally:
            running -= 1

    seconds = {"read_seconds_max": 20.0, "total_seconds_max": 60.0}
    async with asking(answering, requests_per_host_max=16, **seconds) as (http, service):
        await asyncio.gather(*(http.get(service.url, params={"n": n}) for n in range(300)))
        most.append(0)
        await asyncio.gather(*(http.get(service.url, params={"m": n}) for n in range(100)))
    assert most[1] == 16


# What is sent


async def test_a_get_sends_its_query_and_headers_and_returns_the_answer() -> None:
    made = answer(200, b'{"a": [1]}', Content_Type="application/json", ETag='"x"')
    async with asking(always(made)) as (http, service):
        got = await http.get(
            f"{service.url}/p?z=1#part", params={"q": "ü&", "n": [1, 2], "no": None, "yes": True}, headers={"X-A": "b"}
        )
    assert (got.status, got.json(), got.text, got.bytes) == (200, {"a": [1]}, '{"a": [1]}', b'{"a": [1]}')
    assert (got.headers["etag"], got.headers["ETag"], got.url) == ('"x"', '"x"', f"{service.url}/p")
    (asked,) = service.asked
    assert (asked.method, asked.target) == ("GET", "/p?z=1&q=%C3%BC%26&n=1&n=2&yes=true")
    assert asked.headers["x-a"] == "b"
    assert asked.headers["x-request-id"]


@pytest.mark.parametrize(
    ("options", "body", "kind"),
    [
        ({"json": {"a": 1}}, b'{"a":1}', "application/json"),
        ({"json": None}, b"null", "application/json"),
        ({"data": {"a": "b c", "d": [1, 2]}}, b"a=b+c&d=1&d=2", "application/x-www-form-urlencoded"),
        ({"data": "text"}, b"text", None),
        ({"data": b"\x00"}, b"\x00", None),
        ({"json": [1], "headers": {"content-type": "application/x"}}, b"[1]", "application/x"),
    ],
)
async def test_a_post_sends_its_body(options: Any, body: bytes, kind: str | None) -> None:
    async with asking(always(OK)) as (http, service):
        await http.post(service.url, **options)
    (asked,) = service.asked
    assert (asked.method, asked.body) == ("POST", body)
    assert kind is None or asked.headers["content-type"] == kind


async def test_the_user_agent_names_the_platform_and_its_contact() -> None:
    async with asking(always(OK), contact="ops@example.org") as (http, service):
        await http.get(service.url)
    assert service.asked[0].headers["user-agent"].startswith("Headwater/")
    assert "(ops@example.org)" in service.asked[0].headers["user-agent"]


async def test_cookies_are_not_kept() -> None:
    async with asking(always(answer(200, Set_Cookie="a=b"))) as (http, service):
        for _ in range(2):
            await http.get(service.url)
    assert all("cookie" not in asked.headers for asked in service.asked)


async def test_an_unknown_option_is_named_with_the_nearest() -> None:
    async with open_lookups() as http:
        with pytest.raises(TypeError, match=r"'param'.*params"):
            await http.get("http://x.example.org", param={})  # type: ignore[call-arg]
        with pytest.raises(ValueError, match="cache: '10 minutes' is not a duration"):
            await http.get("http://x.example.org", cache="10 minutes")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/path",
        "ftp://x.example.org",
        "http://",
        "http://x:99999",
        f"https://me:{SECRET}@x.org",
        "file:///etc/passwd",
    ],
)
async def test_an_address_that_cannot_be_asked_is_refused(url: str) -> None:
    async with open_lookups() as http:
        with pytest.raises(LookupRefused) as caught:
            await http.get(url)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("written", "target"),
    [
        ("/ü b?q=ä c", "/%C3%BC%20b?q=%C3%A4+c"),
        ("/a%2Fb?q=%26", "/a%2Fb?q=%26"),
        ("/a/../b", "/a/../b"),
        ("?x", "/?x"),
        ("", "/"),
    ],
)
async def test_an_address_is_sent_as_it_is_meant(written: str, target: str) -> None:
    async with asking(always(OK)) as (http, service):
        await http.get(service.url + written)
    assert service.asked[0].target == target


@pytest.mark.parametrize("text", ["\r\nX-Injected: 1\r\n", "\n", "\0", " HTTP/1.1\r\nX: y\r\n\r\nGET /other", "\x7f"])
async def test_no_address_and_no_method_injects_into_the_request(text: str) -> None:
    async with asking(always(OK)) as (http, service):
        for url in (f"{service.url}/{text}", f"{service.url}/?q={text}", f"{service.url}{text}/"):
            with pytest.raises(LookupRefused):
                await http.get(url)
        with pytest.raises(LookupRefused):
            await http.request(f"GET{text}", service.url)
        with pytest.raises(LookupRefused):
            await http.get(service.url, headers={"X-A": f"b{text}"})
    assert not service.asked


async def test_a_header_with_a_line_end_is_refused() -> None:
    async with asking(always(OK)) as (http, service):
        with pytest.raises(LookupRefused):
            await http.get(service.url, headers={"X-A": "b\r\nX-C: d"})
    assert not service.asked


# Statuses


@pytest.mark.parametrize("status", [200, 201, 202, 204, 206])
async def test_a_status_of_success_is_returned(status: int) -> None:
    async with asking(always(answer(status))) as (http, service):
        assert (await http.get(service.url)).status == status


@pytest.mark.parametrize(
    ("status", "error"),
    [
        *((status, LookupRefused) for status in (400, 401, 403, 405, 409, 418, 422, 451, 501, 505, 304, 300)),
        *((status, LookupNotFound) for status in (404, 410)),
        *((status, LookupUnavailable) for status in (408, 425, 500, 502, 503, 504, 507, 520, 599)),
    ],
)
async def test_other_statuses_are_errors_that_say_whether_to_retry(status: int, error: type) -> None:
    async with asking(always(answer(status))) as (http, service):
        with pytest.raises(error) as caught:
            await http.get(f"{service.url}/p?key={SECRET}")
        assert type(caught.value) is error
        assert (caught.value.status, f"GET {service.url}/p answered {status}" in str(caught.value)) == (status, True)
        assert SECRET not in str(caught.value)
        got = await http.get(f"{service.url}/q", accept=(status,))
        assert got.status == status
        assert (await http.get(f"{service.url}/r", accept="any")).status == status
    assert len(service.asked) == (3 if error is LookupUnavailable else 1) + 2


# Failures that pass, and those that do not


FAILURES: list[bytes | None] = [
    None,
    answer(500),
    answer(503),
    b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
    b"garbage\r\n\r\n",
]


@pytest.mark.parametrize("failure", FAILURES, ids=["closed", "500", "503", "short", "garbage"])
async def test_a_failure_that_passes_is_not_noticed(failure: bytes | None) -> None:
    async with asking(first(failure, failure)) as (http, service):
        assert (await http.get(service.url)).text == "ok"


async def test_a_post_is_not_repeated_once_it_may_have_arrived() -> None:
    for failure in (None, answer(500)):
        async with asking(always(failure)) as (http, service):
            with pytest.raises(LookupUnavailable):
                await http.post(service.url, json={})
        assert len(service.asked) == 1


@pytest.mark.parametrize("options", [{"attempts": 3}, {"headers": {"Idempotency-Key": "1"}}])
async def test_a_post_that_may_be_repeated_is(options: Any) -> None:
    async with asking(first(answer(500), answer(503))) as (http, service):
        assert (await http.post(service.url, json={}, **options)).text == "ok"
    assert len(service.asked) == 3


async def test_a_post_that_was_refused_for_now_is_sent_again() -> None:
    async with asking(first(answer(429, Retry_After="0"))) as (http, service):
        assert (await http.post(service.url, json={})).text == "ok"
    assert len(service.asked) == 2


async def test_no_connection_is_an_error_that_may_pass_and_names_no_secret() -> None:
    async with serving(always(OK)) as service:
        url = service.url
    async with open_lookups() as http:
        with pytest.raises(LookupUnavailable, match="no connection") as caught:
            await http.get(f"{url}/?key={SECRET}", attempts=1, headers={"Authorization": SECRET})
    assert (SECRET in str(caught.value), caught.value.was_sent) == (False, False)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("slow", ["head", "body"])
async def test_a_host_that_sends_nothing_is_given_up(slow: str) -> None:
    async def answering(_: Asked) -> bytes | None:
        if slow == "body":
            return b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx"
        await asyncio.sleep(30)
        return OK

    async with asking(answering, read_seconds_max=0.1) as (http, service):
        began = time.monotonic()
        with pytest.raises(LookupUnavailable, match=r"sent nothing for 0\.1 seconds"):
            await http.get(service.url, attempts=1)
        assert time.monotonic() - began < 2


async def test_everything_together_takes_no_longer_than_its_timeout() -> None:
    async def answering(_: Asked) -> bytes | None:
        await asyncio.sleep(0.25)
        return answer(500)

    async with asking(answering) as (http, service):
        began = time.monotonic()
        with pytest.raises(LookupUnavailable):
            await http.get(service.url, timeout="400ms", attempts=100)
        assert time.monotonic() - began < 2
    assert len(service.asked) <= 2


# Refusals for now


@pytest.mark.parametrize("header", ["1", "date", None, "soon"])
async def test_a_refusal_for_now_pauses_the_host_for_everybody_and_is_no_attempt(header: str | None) -> None:
    written = formatdate(time.time() + 2, usegmt=True) if header == "date" else header
    refusal = answer(429) if written is None else answer(429, Retry_After=written)
    times: list[float] = []

    async def answering(_: Asked) -> bytes | None:
        times.append(time.monotonic())
        return refusal if len(times) == 1 else OK

    async with asking(answering) as (http, service):
        assert (await http.get(service.url, attempts=1)).text == "ok"
        assert (await http.get(f"{service.url}/other")).text == "ok"
    assert times[1] - times[0] >= (0.9 if header in ("1", "date") else 0.4)


async def test_a_503_with_a_time_to_wait_is_a_refusal_for_now() -> None:
    async with asking(first(answer(503, Retry_After="0"), answer(503, Retry_After="0"))) as (http, service):
        assert (await http.get(service.url, attempts=1)).text == "ok"


async def test_a_longer_pause_than_there_is_time_for_is_an_error_with_the_time_to_wait() -> None:
    async with asking(always(answer(429, Retry_After="100"))) as (http, service):
        for _ in range(20):
            with pytest.raises(LookupUnavailable) as caught:
                await http.get(service.url, timeout="1s")
            assert 95 < caught.value.back_off_seconds <= 100
    assert len(service.asked) == 1


async def test_a_storm_of_refusals_causes_hardly_more_requests_than_pauses() -> None:
    async with asking(always(answer(429, Retry_After="1")), pause_seconds_max=0.1) as (http, service):
        found = await asyncio.gather(
            *(http.get(f"{service.url}/{number}", timeout="1s") for number in range(500)), return_exceptions=True
        )
    assert {type(one) for one in found} == {LookupUnavailable}
    # Those that were in flight when the first refusal came, and one after each pause.
    assert len(service.asked) <= 64 + 1 / 0.1 + 1


async def test_an_outage_is_not_amplified_by_what_repeats_requests() -> None:
    async with asking(always(answer(500)), retries_per_second_min=0.01) as (http, service):
        for _ in range(6):
            found = await asyncio.gather(
                *(http.get(f"{service.url}/{number}") for number in range(100)), return_exceptions=True
            )
            assert {type(one) for one in found} == {LookupUnavailable}
        assert len(service.asked) <= 100 * 1.2 + 10
    assert "fails too often" in str(found[-1])


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120.0),
        (" 1.5 ", 1.5),
        ("0", 0.0),
        ("-5", 0.0),
        ("1e999", float("inf")),
        ("nan", None),
        ("Thu, 01 Jan 1970 00:20:00 GMT", 200.0),
        ("Thursday, 01-Jan-70 00:20:00 GMT", 200.0),
        ("Thu Jan  1 00:20:00 1970", 200.0),
        ("Thu, 01 Jan 1970 02:20:00 +0200", 200.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("soon", None),
        ("", None),
        ("99999999999999999999 Jan", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_a_date(header: str, seconds: float | None) -> None:
    assert retry_after_seconds({"Retry-After": header}, 1000.0) == seconds


# Limits


async def test_as_many_requests_are_in_flight_per_host_as_are_allowed() -> None:
    async def answering(_: Asked) -> bytes | None:
        await asyncio.sleep(0.02)
        return OK

    async with asking(answering, requests_per_host_max=5) as (http, service):
        await asyncio.gather(*(http.get(service.url) for _ in range(50)))
    assert service.in_flight_max == 5


async def test_a_rate_is_kept() -> None:
    async with asking(always(OK), requests_per_second_per_host_max=50.0) as (http, service):
        began = time.monotonic()
        await asyncio.gather(*(http.get(service.url) for _ in range(30)))
        assert time.monotonic() - began >= 24 / 50 * 0.9


BIG = b"x" * 200_000


@pytest.mark.parametrize(
    "made",
    [
        answer(200, BIG),
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"".join(b"4000\r\n" + b"x" * 0x4000 + b"\r\n" for _ in range(12))
        + b"0\r\n\r\n",
        answer(200, gzip.compress(BIG), Content_Encoding="gzip"),
    ],
    ids=["announced", "chunked", "compressed"],
)
async def test_an_answer_that_is_too_large_is_refused_while_it_arrives(made: bytes) -> None:
    async with asking(always(made), answer_bytes_max=100_000) as (http, service):
        with pytest.raises(AnswerInvalid, match="more than 100,000 bytes"):
            await http.get(service.url)
    async with asking(always(made)) as (http, service):
        assert set((await http.get(service.url)).bytes) == {ord("x")}


async def test_large_answers_are_read_one_after_the_other_when_together_they_are_too_large() -> None:
    async with asking(always(answer(200, BIG)), answers_bytes_max=100_000) as (http, service):
        found = await asyncio.gather(*(http.get(service.url) for _ in range(20)))
    assert [len(one.bytes) for one in found] == [len(BIG)] * 20


# Redirects


def redirecting(status: int, target: Callable[[Asked], str | None]) -> Answering:
    async def answering(asked: Asked) -> bytes | None:
        leads = target(asked)
        return OK if leads is None else answer(status, Location=leads)

    return answering


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_followed(status: int) -> None:
    async with asking(redirecting(status, lambda asked: None if asked.target == "/b" else "/b")) as (http, service):
        assert (await http.get(f"{service.url}/a")).text == "ok"
        made = await http.post(f"{service.url}/a", json={"x": 1})
    assert made.text == "ok"
    last = service.asked[-1]
    assert (last.method, last.body) == (("POST", b'{"x":1}') if status in (307, 308) else ("GET", b""))


@pytest.mark.parametrize("target", ["/loop", "", "ftp://x.example.org/", "http://me:pw@x.example.org/"])
async def test_a_redirect_without_end_or_target_is_refused(target: str) -> None:
    async with asking(redirecting(302, lambda _: target)) as (http, service):
        with pytest.raises(LookupRefused):
            await http.get(f"{service.url}/a")
    assert len(service.asked) <= 4


async def test_credentials_do_not_follow_a_redirect_to_another_host() -> None:
    async with serving(always(OK)) as other:
        headers = {"Authorization": SECRET, "Cookie": SECRET, "X-Other": "kept"}
        async with asking(redirecting(302, lambda _: other.url)) as (http, service):
            await http.get(service.url, headers=headers)
    assert service.asked[0].headers["authorization"] == SECRET
    assert SECRET not in str(other.asked[0].headers)
    assert other.asked[0].headers["x-other"] == "kept"


# The cache


def counting(seconds: float = 0.02) -> tuple[list[Asked], Answering]:
    seen: list[Asked] = []

    async def answering(asked: Asked) -> bytes | None:
        seen.append(asked)
        await asyncio.sleep(seconds)
        return answer(200, str(len(seen)).encode())

    return seen, answering


async def test_equal_requests_at_once_and_later_are_sent_once() -> None:
    seen, answering = counting()
    async with asking(answering) as (http, service):
        found = await asyncio.gather(*(http.get(service.url, params={"a": 1}, cache="10m") for _ in range(100)))
        assert {one.text for one in found} == {"1"}
        assert (await http.get(service.url, params={"a": 1}, cache="10m", headers={"X-Request-Id": "7"})).text == "1"
    assert len(seen) == 1


async def test_requests_that_differ_are_not_answered_for_each_other() -> None:
    _, answering = counting()
    async with asking(answering) as (http, service):
        options: list[tuple[str, str, Any]] = [
            ("GET", "/", {}),
            ("GET", "/b", {}),
            ("GET", "/", {"params": {"a": 1}}),
            ("GET", "/", {"headers": {"Accept": "x"}}),
            ("GET", "/", {"headers": {"Authorization": "me"}}),
            ("POST", "/", {"json": 1}),
            ("POST", "/", {"json": 2}),
        ]
        for _ in range(2):
            texts = [
                (await http.request(method, service.url + path, cache="1m", **given)).text
                for method, path, given in options
            ]
            assert texts == [str(number) for number in range(1, len(options) + 1)]


async def test_an_answer_is_asked_for_again_after_its_time() -> None:
    seen, answering = counting()
    async with asking(answering) as (http, service):
        await http.get(service.url, cache="50ms")
        await asyncio.sleep(0.1)
        await http.get(service.url, cache="50ms")
        await http.get(service.url)
    assert len(seen) == 3


@pytest.mark.parametrize("made", [answer(404), answer(500), answer(200, b"x", Cache_Control="no-store")])
async def test_failures_and_what_must_not_be_stored_are_not_kept(made: bytes) -> None:
    async with asking(always(made), attempts_max=1) as (http, service):
        for number in range(3):
            await http.get(f"{service.url}/", cache="1m", accept="any")
            assert len(service.asked) == number + 1


async def test_an_answer_that_is_not_json_is_not_kept() -> None:
    async with asking(first(answer(200, b'{"half'), then=answer(200, b"{}"))) as (http, service):
        with pytest.raises(AnswerInvalid, match="not JSON"):
            (await http.get(service.url, cache="1m")).json()
        assert (await http.get(service.url, cache="1m")).json() == {}


async def test_each_caller_has_its_own_value_of_a_cached_answer() -> None:
    async with asking(always(answer(200, b'{"a": []}'))) as (http, service):
        (await http.get(service.url, cache="1m")).json()["a"].append(1)
        assert (await http.get(service.url, cache="1m")).json() == {"a": []}


async def test_the_cache_is_bounded_in_bytes() -> None:
    async with asking(always(answer(200, b"x" * 10_000)), cache_bytes_max=100_000) as (http, service):
        for number in range(50):
            await http.get(f"{service.url}/{number}", cache="1m")
        assert http.cached_bytes <= 100_000
        await http.get(f"{service.url}/49", cache="1m")
        assert len(service.asked) == 50
        await http.get(f"{service.url}/0", cache="1m")
        assert len(service.asked) == 51


async def test_who_is_cancelled_does_not_take_the_answer_from_those_who_wait_too() -> None:
    seen, answering = counting(0.5)
    async with asking(answering, read_seconds_max=5.0) as (http, service):
        tasks = [asyncio.create_task(_text(http.get(service.url, cache="1m"))) for _ in range(3)]
        await asyncio.sleep(0.005)
        tasks[0].cancel()
        assert await tasks[1] == await tasks[2] == "1"
        # When all are cancelled, so is the request.
        alone = asyncio.create_task(_text(http.get(f"{service.url}/alone", cache="1m")))
        await asyncio.sleep(0.005)
        alone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await alone
        assert (await http.get(f"{service.url}/alone", cache="1m")).status == 200
    assert len(seen) in (2, 3)


async def _text(work: Awaitable[Any]) -> str:
    text: str = (await work).text
    return text


@pytest.mark.parametrize(
    ("body", "kind", "text"),
    [
        (b"\xfc", "text/plain; charset=latin-1", "ü"),
        ("ü".encode(), "text/plain", "ü"),
        (b"\xfc", "", "�"),
        (b"a", "text/plain; charset=nonsense", "a"),
        (b"\xfc", 'text/html; charset="ISO-8859-1"; x=y', "ü"),
    ],
)
async def test_text_is_decoded_as_the_answer_says(body: bytes, kind: str, text: str) -> None:
    async with asking(always(answer(200, body, Content_Type=kind))) as (http, service):
        assert (await http.get(service.url)).text == text
