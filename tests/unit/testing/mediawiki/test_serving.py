"""The stand-in on a port: what goes over the wire, the control plane, the command line."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from headwater.testing.eventually import eventually
from headwater.testing.mediawiki import MediaWikiStandIn, StandInSettings, serving, serving_in_thread
from headwater.testing.mediawiki.__main__ import main

EN = "en.wikipedia.org"
AGENT = "stand-in-tests/1.0 (ops@example.org)"
HEADERS = {"Host": EN, "User-Agent": AGENT}
FORM = {"action": "query", "format": "json", "formatversion": "2", "prop": "revisions", "rvprop": "ids|content"}
ROW = {"domain": EN, "page_id": 7, "title": "River", "rev_id": 1, "content": "text"}


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    stand_in = MediaWikiStandIn([ROW], settings=StandInSettings(request_bytes_max=10_000))
    async with serving(stand_in) as url, httpx.AsyncClient(base_url=url, headers=HEADERS, verify=False) as client:
        yield client


async def revids(client: httpx.AsyncClient, asked: str) -> list[int]:
    query = (await client.get("/w/api.php", params=FORM | {"revids": asked})).json()["query"]
    return [item["revid"] for page in query.get("pages", ()) for item in page["revisions"]]


# The control plane


async def test_rules_are_replaced_and_shown_with_what_they_have_done(client: httpx.AsyncClient) -> None:
    put = await client.post("/__fake__/rules", json=[{"mode": "http", "status": 500, "times": 2}])
    assert put.status_code == 200
    statuses = [(await client.get("/w/api.php", params=FORM)).status_code for _ in range(3)]
    assert statuses == [500, 500, 200]
    (rule,) = (await client.get("/__fake__/rules")).json()
    assert (rule["mode"], rule["status"], rule["times"], rule["hits"]) == ("http", 500, 2, 2)
    assert (await client.post("/__fake__/rules", json=[])).json() == []


async def test_a_wrong_rule_is_a_400_that_says_why_and_changes_nothing(client: httpx.AsyncClient) -> None:
    await client.post("/__fake__/rules", json=[{"mode": "empty"}])
    for body in (b'[{"mode":"slow"},{"mode":"slwo"}]', b"[", b""):
        refused = await client.post("/__fake__/rules", content=body)
        assert refused.status_code == 400
        assert refused.json()["error"]
    assert [rule["mode"] for rule in (await client.get("/__fake__/rules")).json()] == ["empty"]


async def test_the_log_is_listed_and_is_without_the_control_plane(client: httpx.AsyncClient) -> None:
    await client.get("/w/api.php", params=FORM | {"revids": "1|999"}, headers={"X-Request-Id": "r-1"})
    await client.get("/__fake__/rules")
    (logged,) = (await client.get("/__fake__/requests")).json()
    assert isinstance(logged.pop("time"), float)
    assert logged == {
        "number": 1,
        "method": "GET",
        "domain": EN,
        "path": "/w/api.php",
        "params": FORM | {"revids": "1|999"},
        "User-Agent": AGENT,
        "X-Request-Id": "r-1",
        "revids": [1, 999],
        "in_flight": 1,
        "status": 200,
        "rule": None,
    }


async def test_rows_are_added_as_ndjson_and_taken_back_by_a_reset(client: httpx.AsyncClient) -> None:
    rows = "".join(json.dumps(ROW | {"rev_id": number}) + "\n" for number in (2, 3))
    added = (await client.post("/__fake__/revisions", content=rows)).json()
    assert added == {"added": 2, "revisions": {EN: 3}}
    assert await revids(client, "1|2|3") == [1, 2, 3]
    await client.post("/__fake__/rules", json=[{"mode": "empty", "revid": 9}])
    assert (await client.get("/__fake__/reset")).json() == {"reset": True, "revisions": {EN: 1}}
    assert await revids(client, "1|2|3") == [1]
    assert (await client.get("/__fake__/rules")).json() == []
    assert len((await client.get("/__fake__/requests")).json()) == 1


async def test_a_wrong_row_is_a_400_that_names_its_line(client: httpx.AsyncClient) -> None:
    refused = await client.post("/__fake__/revisions", content=json.dumps(ROW | {"rev_id": 2}) + "\n{}\n")
    assert (refused.status_code, refused.json()["error"][:7]) == (400, "body:2:")
    assert await revids(client, "2") == []


async def test_other_paths_of_the_control_plane_say_what_there_is(client: httpx.AsyncClient) -> None:
    for method, path in (("GET", "/__fake__/"), ("DELETE", "/__fake__/rules"), ("GET", "/__fake__/rule")):
        answer = await client.request(method, path)
        assert answer.status_code == 404
        assert "POST rules" in answer.json()["error"]


async def test_the_control_plane_needs_no_user_agent(client: httpx.AsyncClient) -> None:
    assert (await client.get("/__fake__/requests", headers={"User-Agent": ""})).status_code == 200


# The wire


@pytest.fixture
def address() -> Iterator[tuple[str, int]]:
    settings = StandInSettings(request_bytes_max=10_000, connections_max=3)
    with serving_in_thread(MediaWikiStandIn([ROW], settings=settings)) as url:
        host, _, port = url.removeprefix("http://").partition(":")
        yield host, int(port)


def exchange(address: tuple[str, int], data: bytes) -> bytes:
    """Send the bytes, and receive until the server ends the connection."""
    with socket.create_connection(address, timeout=10) as connection:
        connection.sendall(data)
        received = b""
        while part := connection.recv(65_536):
            received += part
    return received


HEAD = f"Host: {EN}\r\nUser-Agent: {AGENT}\r\n".encode()
TARGET = b"/w/api.php?action=query&format=json&formatversion=2&revids=1&prop=revisions"


def test_requests_sent_ahead_are_answered_in_order(address: tuple[str, int]) -> None:
    one = b"GET /w/rest.php/v1/revision/%d HTTP/1.1\r\n" + HEAD + b"\r\n"
    last = b"GET /w/rest.php/v1/revision/1 HTTP/1.1\r\n" + HEAD + b"Connection: close\r\n\r\n"
    answers = exchange(address, one % 1 + one % 2 + last).split(b"HTTP/1.1 ")[1:]
    assert [answer[:3] for answer in answers] == [b"200", b"404", b"200"]
    assert b"Connection: close" in answers[-1]


def test_http_1_0_ends_with_the_answer(address: tuple[str, int]) -> None:
    assert exchange(address, b"GET " + TARGET + b" HTTP/1.0\r\n" + HEAD + b"\r\n").startswith(b"HTTP/1.1 200 OK\r\n")


def test_head_has_the_length_and_no_body(address: tuple[str, int]) -> None:
    got = exchange(address, b"HEAD " + TARGET + b" HTTP/1.1\r\n" + HEAD + b"Connection: close\r\n\r\n")
    head, _, body = got.partition(b"\r\n\r\n")
    assert body == b""
    assert b"Content-Length: 0" not in head


def test_a_path_and_a_chunked_body_are_decoded(address: tuple[str, int]) -> None:
    body = b"action=query&format=json&formatversion=2&revids=1&prop=revisions"
    chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    kinds = b"Content-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n"
    got = exchange(address, b"POST /w/api%2Ephp HTTP/1.1\r\n" + HEAD + kinds + b"\r\n" + chunks)
    assert b'"revid":1' in got


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"this is not HTTP\r\n\r\n", b"400"),
        (b"POST /w/api.php HTTP/1.1\r\n" + HEAD + b"Content-Length: 5000000\r\n\r\n" + b"x" * 5_000_000, b"413"),
        (b"GET /w/api.php?" + b"x" * 300_000 + b" HTTP/1.1\r\n" + HEAD + b"\r\n", b"431"),
    ],
)
def test_what_cannot_be_read_is_refused(address: tuple[str, int], data: bytes, status: bytes) -> None:
    assert exchange(address, data)[9:12] == status


def test_there_is_a_limit_of_connections(address: tuple[str, int]) -> None:
    def answered(connection: socket.socket) -> bool:
        connection.sendall(b"GET " + TARGET + b" HTTP/1.1\r\n" + HEAD + b"\r\n")
        return connection.recv(12) == b"HTTP/1.1 200"

    with contextlib.ExitStack() as stack:
        open_ones = [stack.enter_context(socket.create_connection(address, timeout=10)) for _ in range(3)]
        assert all(answered(one) for one in open_ones)
        # The reset may come before the client has seen that it is connected.
        with contextlib.suppress(ConnectionError):
            assert not answered(stack.enter_context(socket.create_connection(address, timeout=10)))


async def test_leaving_the_block_aborts_what_is_open_and_frees_the_port() -> None:
    stand_in = MediaWikiStandIn([ROW], rules=[{"mode": "slow", "seconds": 600}])
    async with serving(stand_in) as url:
        client = httpx.AsyncClient(base_url=url, headers=HEADERS, verify=False)
        waiting = asyncio.create_task(client.get("/w/api.php", params=FORM))
        await eventually(lambda: stand_in.requests)
    with pytest.raises(httpx.TransportError):
        await waiting
    await client.aclose()
    async with serving(stand_in, int(url.rpartition(":")[2])) as again:
        assert again == url


def test_a_port_that_is_taken_is_an_error_of_the_caller(address: tuple[str, int]) -> None:
    with pytest.raises(OSError, match="in use"), serving_in_thread(MediaWikiStandIn(), address[1]):
        pytest.fail("served twice")


async def test_a_fault_of_the_stand_in_itself_is_a_500_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> float:
        raise RuntimeError("no clock")

    stand_in = MediaWikiStandIn([ROW], clock=broken)
    async with serving(stand_in) as url, httpx.AsyncClient(base_url=url, headers=HEADERS, verify=False) as client:
        assert (await client.get("/w/api.php", params=FORM)).status_code == 500
    assert "no clock" in caplog.text


# The command line


def test_the_command_serves_until_it_is_stopped(tmp_path: Path) -> None:
    pages, rules = tmp_path / "pages.jsonl", tmp_path / "rules.yaml"
    pages.write_text(json.dumps(ROW), encoding="utf-8")
    rules.write_text("- {mode: http, status: 502, times: 1}\n", encoding="utf-8")
    command = [sys.executable, "-m", "headwater.testing.mediawiki", str(pages), "--rules", str(rules)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline().split()
            assert said[0] == "serving"
            statuses = [httpx.get(f"{said[1]}/w/api.php", params=FORM, headers=HEADERS).status_code for _ in range(2)]
            assert statuses == [502, 200]
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=30)
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("pages", "rules", "expected"),
    [
        ("{}", "[]", "pages.jsonl:1: is no Revision"),
        (json.dumps(ROW), "- mode: slwo", 'rules.yaml:1: rule 0: unknown mode "slwo". Did you mean "slow"?'),
        (json.dumps(ROW), "- mode: [\n", "rules.yaml:2: is not YAML"),
    ],
)
def test_the_command_reports_a_wrong_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], pages: str, rules: str, expected: str
) -> None:
    (tmp_path / "pages.jsonl").write_text(pages, encoding="utf-8")
    (tmp_path / "rules.yaml").write_text(rules, encoding="utf-8")
    assert main([str(tmp_path / "pages.jsonl"), "--rules", str(tmp_path / "rules.yaml")]) == 2
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--port", "70000"], ["--latency-ms", "x"], ["--links-per-answer", "0"]])
def test_the_command_refuses_an_option_out_of_range(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(arguments)
    assert (raised.value.code, arguments[0] in capsys.readouterr().err) == (2, True)


def test_the_command_reports_a_port_that_is_taken(address: tuple[str, int], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--port", str(address[1])]) == 2
    assert f"Port {address[1]}" in capsys.readouterr().err
