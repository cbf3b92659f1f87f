"""Lookups on inputs of any form: queries, SHA-1 in both bases, `Retry-After`, and calls of a host in any order."""

from __future__ import annotations

import asyncio
import hashlib
import string
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headwater.lookups.hosts import Host
from headwater.lookups.mediawiki.sha1 import BASE36_CHARS, base16, base36, revision_sha1
from headwater.lookups.request import form_of, read_options, with_params
from headwater.processing.failures.causes import common_text
from headwater.retry_after import retry_after_seconds
from headwater.settings import LookupsConfig

TEXTS = st.text(st.characters(codec="utf-8"))
VALUES = st.one_of(TEXTS, st.integers(), st.floats(allow_nan=False), st.binary(max_size=5))


@given(st.dictionaries(TEXTS, st.one_of(VALUES, st.lists(VALUES, max_size=3))))
def test_a_form_is_what_the_standard_library_makes_of_it(params: dict[str, Any]) -> None:
    assert form_of(params) == urlencode(params, doseq=True)


@given(st.dictionaries(TEXTS, st.one_of(TEXTS, st.booleans(), st.none())))
def test_a_query_is_read_as_it_was_meant(params: dict[str, Any]) -> None:
    url = with_params("http://x.example.org/p?a=1#f", params)
    sent = parse_qsl(url.partition("?")[2], keep_blank_values=True)
    words = {True: "true", False: "false"}
    meant = [(name, words[value] if isinstance(value, bool) else value) for name, value in params.items()]
    assert sent == [("a", "1"), *((name, value) for name, value in meant if value is not None)]


@given(st.text(st.characters(codec="utf-8", exclude_characters="?#", exclude_categories=["Cc"]), min_size=1))
@example("Green tea")
@example('it\'s "<b>"\u2028.json')
def test_failures_about_any_page_of_a_service_are_of_one_group(title: str) -> None:
    wanted = read_options("GET", f"http://127.0.0.1:8099/{title}", {})
    assert common_text(f"{wanted.request.shown} answered 404.") == "GET URL answered #."


@given(st.binary())
def test_a_sha1_is_the_same_in_both_bases(content: bytes) -> None:
    sha1 = hashlib.sha1(content).hexdigest()
    assert len(base36(sha1)) == BASE36_CHARS
    assert base16(base36(sha1)) == base16(sha1.upper()) == sha1
    assert revision_sha1({"main": sha1}) == sha1


@pytest.mark.parametrize("text", ["", "0", "z" * 31, "g" * 40, "0" * 32, "0" * 39, "-" + "0" * 30, "٣" * 31])
def test_a_text_that_is_no_sha1_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a SHA-1"):
        base16(text)


@given(st.text(string.printable), st.floats(0, 4e9))
def test_any_retry_after_is_a_time_to_wait_or_nothing(header: str, now: float) -> None:
    seconds = retry_after_seconds({"Retry-After": header}, now)
    assert seconds is None or seconds >= 0


CALLS = st.lists(st.sampled_from(["enter", "leave", "cancel", "pause", "succeed", "fail", "wait"]), max_size=60)


class Crowd:
    """Tasks that want to enter a host, and how many are in."""

    def __init__(self, most: int) -> None:
        self.now = 0.0
        self.host = Host("h", LookupsConfig(requests_per_host_max=most), lambda: self.now)
        self.waiting: list[asyncio.Task[None]] = []
        self.inside = 0

    def do(self, call: str) -> None:
        match call:
            case "enter":
                self.waiting.append(asyncio.ensure_future(self.host.enter(1e9)))
            case "leave" if self.inside:
                self.inside -= 1
                self.host.leave()
            case "cancel" if self.waiting:
                self.waiting[len(self.waiting) // 2].cancel()
            case "pause":
                self.host.pause(0.0)
            case "succeed":
                self.host.succeeded("x")
            case "fail":
                self.host.retries.failed("x")
            case "wait":
                self.now += 1.0

    async def settle(self) -> None:
        for _ in range(4):
            await asyncio.sleep(0)
        self.inside += sum(task.done() and not task.cancelled() for task in self.waiting)
        self.waiting = [task for task in self.waiting if not task.done()]


@given(CALLS, st.integers(1, 4))
async def test_no_sequence_of_calls_lets_more_requests_in_than_there_is_room_for(calls: list[str], most: int) -> None:
    crowd = Crowd(most)
    for call in calls:
        crowd.do(call)
        await crowd.settle()
        assert crowd.host.in_flight == crowd.inside <= most
    for task in crowd.waiting:
        task.cancel()
    await asyncio.gather(*crowd.waiting, return_exceptions=True)
    assert crowd.host.in_flight == crowd.inside
