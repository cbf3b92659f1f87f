"""Fuzz targets for bytes from other programs and disks: responses, feeds, files of events, stored batches."""

from __future__ import annotations

import contextlib
import io
import socket
import threading
import zlib
from collections.abc import Iterator, Sequence

import httpx

from headwater.client.answer import Waiting, read_answer
from headwater.errors import HeadwaterError
from headwater.event import EXACT, decode_event, decode_json
from headwater.event_lines import LineSource, require_whole
from headwater.event_stream import MessageParser, SubscriptionRefused
from headwater.log.record_batch import BatchCodec, BatchDamaged, BatchHeader, Columns, checksum, decode_batch
from headwater.schemas.remote import RemoteRepository
from headwater.testing.fuzzing.campaign import Outcome
from headwater.testing.fuzzing.target import STRANGERS_SECONDS_MAX, FromFiles, FromNetwork

_ANSWER_SECONDS_MAX = 2.0


class Events(FromNetwork):
    """One event as JSON, decoded, and its stored form decoded again."""

    name = "events"
    modules: Sequence[str] = ("headwater.event",)
    examples: Sequence[bytes] = (
        b'{"a":1.10,"b":[1e5,0.1,12345678901234567890],"c":{"d":"\\u00e9\\ud83d\\ude00"},"a":2}',
        b' { "x" : -0.0 , "y" : 1E-7 , "z" : 9007199254740993.5 } ',
        b'[{"text":"\\ud800","n":null},true,0.30000000000000004,1e309]',
    )
    words: Sequence[bytes] = (
        b'"a":',
        b",",
        b"[",
        b"]",
        b"{",
        b"}",
        b"e+",
        b"E-",
        b"0.",
        b"\\ud83d",
        b"\\udc00",
        b"-",
        b"1e22",
    )

    def run(self, data: bytes) -> Outcome:
        try:
            _, kept, flags = decode_event(data)
        except HeadwaterError as error:
            return Outcome(error.code)
        value = decode_json(kept) if flags & EXACT else None
        try:
            again, once_more, _ = decode_event(kept)
        except HeadwaterError as error:
            raise AssertionError(f"the stored form of an event cannot be read: {error}") from None
        if once_more != kept or (value is not None and again != value):
            raise AssertionError("the stored form of an event changes when it is read and stored again")
        return Outcome(f"kept, flags {flags}")


class EventFiles(FromFiles):
    """Files of events by line, plain and gzipped, cut short and damaged."""

    name = "event-files"
    modules: Sequence[str] = ("headwater.event_lines",)
    words: Sequence[bytes] = (
        b"\n",
        b"\r\n",
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"\x1f\x8b",
        b"BZh",
        b"PK\x03\x04",
        b"\0\0\0",
    )

    @property
    def examples(self) -> Sequence[bytes]:
        lines = b'{"a":1}\n' * 20
        packed = zlib.compressobj(wbits=31)
        whole = packed.compress(lines) + packed.flush()
        return (lines, b"\xef\xbb\xbf" + lines, whole, whole + whole, whole[:-9], whole + b"\0" * 20)

    def run(self, data: bytes) -> Outcome:
        lines = 0
        try:
            with LineSource(io.BytesIO(data), len(data)) as source:
                for line in source:
                    lines += 1
                    with contextlib.suppress(HeadwaterError):
                        require_whole(line)
        except HeadwaterError as error:
            return Outcome(error.code)
        if source.damage is not None:
            return Outcome("damaged after some lines" if str(source.damage) and lines else "damaged at once")
        return Outcome("read")


class Feeds(FromFiles):
    """Server-sent events as a client parses them: the result does not depend on where they are cut."""

    name = "feeds"
    modules: Sequence[str] = ("headwater.event_stream",)
    examples: Sequence[bytes] = (
        b'event: message\nid: [{"topic":"a","partition":0,"offset":5}]\ndata: {"a":1}\ndata: x\n\n:\n'
        b"\nretry: 500\r\n\r\n",
        b"\xef\xbb\xbfdata\n\ndata:\ndata\n\nid\n\revent:x\rdata: y\r\r",
    )
    words: Sequence[bytes] = (
        b"data: ",
        b"id: ",
        b"event: ",
        b"retry: ",
        b":",
        b"\n\n",
        b"\r\n",
        b"\r",
        b"\0",
        b"error",
    )

    def run(self, data: bytes) -> Outcome:
        whole, pieces = MessageParser(), MessageParser()
        step = 1 + len(data) % 7
        try:
            messages = whole.feed(data + b"\n")
            cut = [m for at in range(0, len(data) + 1, step) for m in pieces.feed((data + b"\n")[at : at + step])]
        except SubscriptionRefused:
            return Outcome("refused")
        if (messages, whole.last_id, whole.retry_seconds) != (cut, pieces.last_id, pieces.retry_seconds):
            raise AssertionError(f"a feed cut into pieces of {step} bytes gives other messages")
        return Outcome("messages" if messages else "no message")


class ProducerAnswers(FromNetwork):
    """Responses of a server or a proxy to our producer: every event is sent, refused or kept."""

    name = "answers"
    modules: Sequence[str] = ("headwater.client.answer",)
    examples: Sequence[bytes] = (
        b'207\nretry-after: 5\n\n{"invalid":[{"event":{"meta":{"id":"1"}},"context":{"message":"no"}}],'
        b'"error":[{"event":{"meta":{"id":"2"}},"context":{"errorsText":"full"}}]}',
        b"503\nretry-after: Thu, 01 Jan 2026 00:00:00 GMT\n\n<html>",
        b'400\ncontent-encoding: identity\n\n{"invalid":[]}',
        b"201\n\n",
    )
    words: Sequence[bytes] = (
        *(b"retry-after: ", b"-1", b"1e99", b"nan", b"inf", b'"invalid"', b'"error"', b'"event"', b'"meta"', b'"id"'),
        *(b'"context"', b'"message"', b"207", b"500", b"413", b"429"),
    )
    _BATCH = (Waiting("1", "a", b"{}"), Waiting("2", "a", b"{}"))

    def run(self, data: bytes) -> Outcome:
        head, _, body = data.partition(b"\n\n")
        status, *lines = head.split(b"\n")
        number = int(status) if status.isdigit() and len(status) == 3 else 207
        named = [tuple(line.split(b": ", 1)) for line in lines if b": " in line]
        headers = [(name, value) for name, value in named if name.lower() == b"retry-after"]
        answer = read_answer(httpx.Response(number, headers=headers, content=body), self._BATCH)
        if answer.accepted + len(answer.refused) + len(answer.again) != len(self._BATCH):
            raise AssertionError("an event of a batch is neither sent, nor refused, nor kept")
        if answer.pause_seconds is not None and not 0 <= answer.pause_seconds < float("inf"):
            raise AssertionError(f"a pause of {answer.pause_seconds} seconds")
        return Outcome(f"accepted {answer.accepted}, refused {len(answer.refused)}, again {len(answer.again)}")


class RemoteSchemas:
    """Whole responses of a schema repository, as received from the network."""

    name = "remote"
    modules: Sequence[str] = ("headwater.schemas.remote",)
    stall_seconds_max = _ANSWER_SECONDS_MAX
    examples: Sequence[bytes] = (
        b"HTTP/1.1 200 OK\r\ncontent-length: 38\r\n\r\ntitle: a\n$id: /a/1.0.0\ntype: object\nx: 1",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
        b'16\r\n{"$id":"/a/1.0.0","x":1\r\n1\r\n}\r\n0\r\na: b\r\n\r\n',
        b"HTTP/1.1 302 Found\r\nlocation: /b/1.0.0.yaml\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.0 404 Not Found\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n\x1f\x8b",
        b"HTTP/1.1 304 Not Modified\r\netag: x\r\n\r\n",
    )
    words: Sequence[bytes] = (
        *(b"\r\n", b"content-length: ", b"transfer-encoding: chunked", b"location: ", b"http://127.0.0.1:1/", b"//x"),
        *(
            b"content-encoding: gzip",
            b"HTTP/1.1 ",
            b"200",
            b"301",
            b"100",
            b"101",
            b"204",
            b"999",
            b"0\r\n\r\n",
            b"ffffffff",
        ),
    )

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        self._answer = b""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            self._url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            thread = threading.Thread(target=self._serve, args=(listening,), name="fuzz-repository")
            thread.start()
            try:
                yield
            finally:
                self._answer = b""
                with contextlib.suppress(OSError):
                    listening.shutdown(socket.SHUT_RDWR)
                thread.join()

    def run(self, data: bytes) -> Outcome:
        self._answer = data
        # One each, because a repository that timed out is not asked for a second.
        repository = RemoteRepository(self._url, timeout_seconds=1.0, bytes_max=100_000)
        try:
            return Outcome(f"schema {repository.get('/a/1.0.0').dialect}")
        except HeadwaterError as error:
            return Outcome(error.code)
        finally:
            repository.close()

    def _serve(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                connection.settimeout(_ANSWER_SECONDS_MAX)
                connection.recv(65_536)
                connection.sendall(self._answer)
                connection.shutdown(socket.SHUT_WR)


class Batches:
    """The packed bytes of a batch of the log, with a valid checksum: of another version, or damaged before packing."""

    name = "batches"
    modules: Sequence[str] = ("headwater.log.record_batch",)
    stall_seconds_max = STRANGERS_SECONDS_MAX
    words: Sequence[bytes] = (
        b"\x90",
        b"\x93",
        b"\x95",
        b"\xc0",
        b"\xc4\x01",
        b"\xdd\xff\xff\xff\xff",
        b"\xcf" + b"\xff" * 8,
        b"\xa1a",
    )

    @property
    def examples(self) -> Sequence[bytes]:
        codec = BatchCodec()
        columns = (
            Columns([b'{"a":1}', b"{}"]),
            Columns([b"x", b"y"], [b"k", None], [(("h", b"v"),), ()], [0, 5], [0, 9]),
            Columns([b"the same words " * 100, b""]),
        )
        return [bytes([kind]) + data for kind, data in map(codec.pack, columns)]

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        self._codec = BatchCodec()
        yield

    def run(self, data: bytes) -> Outcome:
        header = BatchHeader(0, 5, 2, 1_000, 2_000, data[0] % 2 if data else 0)
        try:
            columns = self._codec.unpack(header, checksum(header, data[1:]), data[1:])
            batch = decode_batch("a", 0, 0, header, columns)
        except BatchDamaged:
            return Outcome("damaged")
        for record in batch.records:
            if not isinstance(record.value, bytes) or not isinstance(record.offset, int):
                raise AssertionError(f"an invalid record: {record!r}")
        return Outcome("read")
