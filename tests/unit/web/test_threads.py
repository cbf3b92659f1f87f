"""Work in threads: once for all who ask for it meanwhile, few at a time, and never remembered when it has failed."""

from __future__ import annotations

import asyncio
import threading

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from headwater.web.http.route import Route
from headwater.web.http.threads import THREADS_MAX, SharedWork, in_thread

SECONDS_MAX = 10.0


class Held:
    """Work that waits in its thread until it may continue, and counts how often it was done and how much of it at
    once.
    """

    def __init__(self) -> None:
        self.may_end = threading.Event()
        self.started = threading.Semaphore(0)
        self.begun = 0
        self.now = 0
        self.most = 0
        self._lock = threading.Lock()

    def __call__(self) -> int:
        with self._lock:
            self.begun += 1
            self.now += 1
            self.most = max(self.most, self.now)
        self.started.release()
        if not self.may_end.wait(SECONDS_MAX):
            raise TimeoutError
        with self._lock:
            self.now -= 1
            return self.begun


async def until_begun(work: Held, count: int) -> None:
    for _ in range(count):
        assert await asyncio.to_thread(work.started.acquire, timeout=SECONDS_MAX)


async def test_work_is_done_once_for_all_who_ask_meanwhile_and_again_for_who_comes_later() -> None:
    shared, work = SharedWork(), Held()
    asking = [asyncio.create_task(shared.of("key", work)) for _ in range(20)]
    await until_begun(work, 1)

    work.may_end.set()

    assert await asyncio.gather(*asking) == [1] * 20
    assert await shared.of("key", work) == 2


async def test_who_goes_away_leaves_the_work_to_the_others() -> None:
    shared, work = SharedWork(), Held()
    first, second = (asyncio.create_task(shared.of("key", work)) for _ in range(2))
    await until_begun(work, 1)

    first.cancel()
    work.may_end.set()

    assert await second == 1


async def test_all_callers_get_an_error_and_the_next_one_tries_again() -> None:
    shared = SharedWork()
    answers = [ValueError("it failed"), None]

    def work() -> str:
        error = answers.pop(0)
        if error is not None:
            raise error
        return "done"

    found = await asyncio.gather(*(shared.of("key", work) for _ in range(3)), return_exceptions=True)

    assert [str(one) for one in found] == ["it failed"] * 3
    assert await shared.of("key", work) == "done"


async def test_few_threads_work_at_a_time() -> None:
    work = Held()
    asking = [asyncio.create_task(in_thread(work)) for _ in range(10)]
    await until_begun(work, THREADS_MAX)
    work.may_end.set()
    await asyncio.gather(*asking)

    assert (work.begun, work.most) == (10, THREADS_MAX)


@pytest.mark.parametrize(
    ("other", "times"),
    [({}, 1), ({"headers": {"accept": "text/html"}}, 2), ({"headers": {"authorization": "Bearer b"}}, 2)],
)
async def test_requests_share_an_answer_where_nothing_that_it_may_depend_on_differs(
    other: dict[str, dict[str, str]], times: int
) -> None:
    work = Held()

    def endpoint(request: Request) -> Response:
        return PlainTextResponse(f"{request.headers.get('accept')} {work()}")

    app = Starlette(routes=[Route("/{name:path}", endpoint, methods=["GET"])])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here") as client:
        asking = [asyncio.create_task(client.get("/a?b=c", **given)) for given in ({}, other)]  # type: ignore[arg-type]
        await until_begun(work, times)
        work.may_end.set()
        answers = await asyncio.gather(*asking)

    assert work.begun == times
    assert all(answer.text.startswith(answer.request.headers["accept"]) for answer in answers)
