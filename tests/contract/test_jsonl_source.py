"""Files of JSON lines keep the contract of sources, however they are written, rotated, packed and truncated."""

from __future__ import annotations

import asyncio
import gzip
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from headwater.connectors.source_spec import SourceContext
from headwater.connectors.sources.jsonl import JsonlOptions, JsonlSource
from headwater.errors import PositionLost, TokenInvalid
from headwater.testing.suites.source import NewSource, Put, SourceSuite, event, numbers_of, read_all


def source_of(
    directory: Path, path: str = "in.jsonl", *, event_bytes_max: int = 4_194_304, **options: Any
) -> JsonlSource:
    context = SourceContext("s", directory, event_bytes_max)
    return JsonlSource(JsonlOptions(path, poll_seconds=0.01, **options), context)


def append(path: Path, *numbers: int, end: str = "\n") -> None:
    with path.open("ab") as file:
        for number in numbers:
            file.write(orjson.dumps(event(number)) + end.encode())


async def rest(source: JsonlSource, token: str | None = None) -> tuple[list[int], str]:
    """What is delivered after `token`, and the token after that."""
    await source.open(token)
    found = await read_all(source)
    batch = await source.read(deliveries_max=1, wait_seconds=0.0)
    await source.close()
    return numbers_of(found), batch.token


class TestJsonlSource(SourceSuite):
    implementations = (JsonlSource,)

    @pytest.fixture
    def new_source(self, tmp_path: Path) -> NewSource:
        return lambda: source_of(tmp_path)

    @pytest.fixture
    def put(self, tmp_path: Path) -> Put:
        async def put(*events: Mapping[str, Any]) -> None:
            with (tmp_path / "in.jsonl").open("ab") as file:
                file.writelines(orjson.dumps(one) + b"\n" for one in events)

        return put


async def test_a_last_line_without_its_end_waits(tmp_path: Path) -> None:
    append(tmp_path / "in.jsonl", 1)
    append(tmp_path / "in.jsonl", 2, end="")
    found, token = await rest(source_of(tmp_path))
    assert found == [1]
    with (tmp_path / "in.jsonl").open("ab") as file:
        file.write(b"\n")
    assert (await rest(source_of(tmp_path), token))[0] == [2]


async def test_rotation_is_followed_and_nothing_is_read_twice(tmp_path: Path) -> None:
    append(tmp_path / "app.jsonl", 1, 2)
    source = source_of(tmp_path, "app.jsonl*")
    found, token = await rest(source)
    assert found == [1, 2]
    append(tmp_path / "app.jsonl", 3)
    (tmp_path / "app.jsonl").rename(tmp_path / "app.jsonl.1")
    append(tmp_path / "app.jsonl", 4)
    found, token = await rest(source, token)
    assert found == [3, 4]
    (tmp_path / "app.jsonl.1").rename(tmp_path / "app.jsonl.2")
    (tmp_path / "app.jsonl").rename(tmp_path / "app.jsonl.1")
    append(tmp_path / "app.jsonl", 5)
    assert (await rest(source_of(tmp_path, "app.jsonl*"), token))[0] == [5]


async def test_files_that_are_added_to_a_directory_are_read_the_oldest_first(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    append(tmp_path / "in" / "b.jsonl", 1)
    with gzip.open(tmp_path / "in" / "a.jsonl.gz", "wb") as file:
        file.write(orjson.dumps(event(2)) + b"\n" + orjson.dumps(event(3)))
    (tmp_path / "in" / "notes.txt").write_text("not an event")
    source = source_of(tmp_path, "in")
    found, token = await rest(source)
    assert found == [1, 2, 3]
    assert (await rest(source, token))[0] == []
    append(tmp_path / "in" / "c.jsonl", 4)
    assert (await rest(source_of(tmp_path, "in"), token))[0] == [4]


@pytest.mark.parametrize("rewritten", [b"", b'{"number": 9}\n', b'{"number": 7}\n' * 400])
async def test_a_file_that_is_truncated_or_rewritten_stops_or_is_read_again(tmp_path: Path, rewritten: bytes) -> None:
    append(tmp_path / "in.jsonl", *range(100))
    _, token = await rest(source_of(tmp_path))
    (tmp_path / "in.jsonl").write_bytes(rewritten)
    with pytest.raises(PositionLost, match="truncated"):
        await rest(source_of(tmp_path), token)
    found, _ = await rest(source_of(tmp_path, on_truncated="restart"), token)
    assert found == [orjson.loads(line)["number"] for line in rewritten.splitlines()]


async def test_a_file_that_is_replaced_by_another_is_read_from_its_beginning(tmp_path: Path) -> None:
    append(tmp_path / "in.jsonl", 1, 2)
    _, token = await rest(source_of(tmp_path))
    append(tmp_path / "new", 3)
    (tmp_path / "new").rename(tmp_path / "in.jsonl")
    assert (await rest(source_of(tmp_path), token))[0] == [3]


async def test_every_spelling_of_lines_is_read(tmp_path: Path) -> None:
    lines = [b'{"number": 1}', b'{"number": 2, "text": "\xe2\x82\xac\\n"}', b"[3]", b"no json", b'{"number": 4}']
    (tmp_path / "in.jsonl").write_bytes(b"\xef\xbb\xbf" + b"\r\n\r\n\n   \n".join(lines) + b"\n")
    source = source_of(tmp_path)
    await source.open(None)
    found = [delivery for delivery, _ in await read_all(source)]
    assert [one.raw for one in found] == lines
    assert len({one.event_id for one in found}) == 5
    again = source_of(tmp_path)
    await again.open(None)
    assert [one.event_id for one, _ in await read_all(again)] == [one.event_id for one in found]


async def test_a_line_that_is_too_long_is_refused_with_its_beginning_and_the_rest_flows(tmp_path: Path) -> None:
    long = b'{"text": "' + b"x" * 5_000_000 + b'"}\n'
    (tmp_path / "in.jsonl").write_bytes(b'{"number": 1}\n' + long + b'{"number": 2}\n' + b"y" * 3_000_000 + b"\n")
    source = source_of(tmp_path, event_bytes_max=100_000)
    await source.open(None)
    found = [delivery for delivery, _ in await read_all(source, deliveries_max=2)]
    assert [bool(one.problem) for one in found] == [False, True, False, True]
    assert found[1].raw.startswith(b'{"text": "xxx')
    assert len(found[1].raw) < 100_000


async def test_it_can_begin_with_what_is_added_from_now_on(tmp_path: Path) -> None:
    append(tmp_path / "in.jsonl", 1, 2)
    source = source_of(tmp_path, start="newest")
    await source.open(None)
    append(tmp_path / "in.jsonl", 3)
    assert numbers_of(await read_all(source)) == [3]
    await source.close()


async def test_a_packed_file_that_is_still_being_written_is_read_when_it_is_whole(tmp_path: Path) -> None:
    packed = gzip.compress(b"".join(orjson.dumps(event(number)) + b"\n" for number in range(50)))
    path = tmp_path / "in.jsonl.gz"
    path.write_bytes(packed[:-30])
    source = source_of(tmp_path, path.name)
    await source.open(None)
    found = numbers_of(await read_all(source))
    with path.open("ab") as file:
        file.write(packed[-30:])
    found += numbers_of(await read_all(source))
    assert found == list(range(50))


@pytest.mark.parametrize("token", ["", "2", "1.a-b", "1.1-2-3-4-5", "1.x-1-1-1", "{}"])
async def test_tokens_of_others_are_refused(tmp_path: Path, token: str) -> None:
    with pytest.raises(TokenInvalid):
        await source_of(tmp_path).open(token)


async def test_a_directory_that_does_not_exist_yet_is_waited_for(tmp_path: Path) -> None:
    source = source_of(tmp_path, "later/in.jsonl")
    await source.open(None)
    waiting = asyncio.create_task(source.read(deliveries_max=5, wait_seconds=60.0))
    await asyncio.sleep(0)
    (tmp_path / "later").mkdir()
    append(tmp_path / "later" / "in.jsonl", 1)
    assert len((await waiting).deliveries) == 1


@pytest.mark.parametrize("seed", range(5))
async def test_what_is_appended_in_any_pieces_and_rotated_is_read_once(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    written: list[int] = []
    found: list[int] = []
    token: str | None = None
    name = tmp_path / "log.jsonl"
    for turn in range(40):
        for _ in range(chance.randrange(4)):
            line = orjson.dumps(event(len(written), text="x" * chance.randrange(300))) + b"\n"
            cut = chance.randrange(len(line))
            with name.open("ab") as file:
                file.write(line[:cut])
            if chance.random() < 0.3:
                source = source_of(tmp_path, "log.jsonl*")
                await source.open(token)
                some = await read_all(source, deliveries_max=chance.randrange(1, 4))
                found += numbers_of(some)
                token = some[-1][1] if some else token
            with name.open("ab") as file:
                file.write(line[cut:])
            written.append(len(written))
        if chance.random() < 0.2 and name.exists():
            name.rename(tmp_path / f"log.jsonl.{turn}")
    source = source_of(tmp_path, "log.jsonl*")
    await source.open(token)
    found += numbers_of(await read_all(source))
    assert sorted(found) == written
