"""The places for files keep what the contract of a FileSystem promises."""

from __future__ import annotations

import os
import socket
import stat
import threading
import uuid
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from headwater.connectors.lake.file_system import FileSystem
from headwater.connectors.lake.hdfs_files import HdfsFiles, HdfsOptions
from headwater.connectors.lake.local_files import UNFINISHED, LocalFiles
from headwater.connectors.lake.s3_files import S3Files, S3Options
from headwater.errors import SinkUnavailable, StoreUnsuitable
from headwater.testing.suites.file_system import FileSystemSuite
from servers.cutting_proxy import CuttingProxy
from servers.hdfs import HdfsServer
from servers.moto import KEY, MotoServer
from servers.s3proxy import ACCESS_KEY, SECRET_KEY, S3proxyServer


class TestLocalFiles(FileSystemSuite):
    implementations = (LocalFiles,)

    @pytest.fixture
    def files(self, tmp_path: Path) -> FileSystem:
        return LocalFiles(tmp_path / "lake")


def test_files_are_for_their_owner_only(tmp_path: Path) -> None:
    LocalFiles(tmp_path / "lake").write("t/one", b"1")
    assert stat.S_IMODE(os.stat(tmp_path / "lake" / "t" / "one").st_mode) == 0o600
    assert stat.S_IMODE(os.stat(tmp_path / "lake" / "t").st_mode) == 0o700


def test_what_a_crash_left_unfinished_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / f"{UNFINISHED}1").write_bytes(b"1")
    assert list(LocalFiles(tmp_path).entries("t")) == []


def test_a_directory_that_cannot_be_written_to_says_which(tmp_path: Path) -> None:
    (tmp_path / "lake").write_text("a file")
    with pytest.raises(SinkUnavailable, match="lake"):
        LocalFiles(tmp_path / "lake").write("t/one", b"1")
    assert list(LocalFiles(tmp_path / "lake").entries("t")) == []


class TestS3Files(FileSystemSuite):
    implementations = (S3Files,)

    @pytest.fixture
    def files(self, moto: MotoServer) -> FileSystem:
        bucket = moto.new_bucket(f"test-{uuid.uuid4().hex}")
        return S3Files(bucket, "lake", S3Options(moto.endpoint, "us-east-1", KEY, KEY))


class TestS3FilesWithoutConditions(FileSystemSuite):
    implementations = (S3Files,)

    @pytest.fixture
    def files(self, moto: MotoServer) -> FileSystem:
        bucket = moto.new_bucket(f"test-{uuid.uuid4().hex}")
        return S3Files(bucket, "lake", S3Options(moto.endpoint, "us-east-1", KEY, KEY, conditional_writes=False))


class TestS3FilesOfAStoreThatChecksSignatures(FileSystemSuite):
    implementations = (S3Files,)

    @pytest.fixture
    def files(self, s3proxy: S3proxyServer) -> FileSystem:
        bucket = s3proxy.new_bucket(f"test-{uuid.uuid4().hex}")
        return S3Files(
            bucket, "a lake/with+odd=names", S3Options(s3proxy.endpoint, "us-east-1", ACCESS_KEY, SECRET_KEY)
        )


def test_a_store_that_ignores_conditions_is_refused_before_anything_is_written(moto: MotoServer) -> None:
    bucket = moto.new_bucket(f"test-{uuid.uuid4().hex}")
    with CuttingProxy(int(moto.endpoint.rpartition(":")[2])) as proxy:
        proxy.replaced = {b"if-none-match": b"x-not-matched"}
        endpoint = f"http://127.0.0.1:{proxy.port}"
        files = S3Files(bucket, "lake", S3Options(endpoint, "us-east-1", KEY, KEY))
        for attempt in (lambda: files.probe("t/_headwater"), lambda: files.create("t/_headwater/head-1", b"1")):
            with pytest.raises(StoreUnsuitable, match="accepts and ignores") as unsuitable:
                attempt()
            assert "conditional_writes: false" in str(unsuitable.value.hint)
        assert list(files.entries("t/_headwater")) == []
        unconditional = S3Options(endpoint, "us-east-1", KEY, KEY, conditional_writes=False)
        assert S3Files(bucket, "lake", unconditional).create("t/_headwater/head-1", b"1")


def test_a_store_that_knows_no_conditions_is_refused() -> None:
    # The standard library's server answers 501 to every PUT.
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as store:
        threading.Thread(target=store.serve_forever, daemon=True).start()
        how = S3Options(f"http://127.0.0.1:{store.server_address[1]}", "us-east-1", "a", "b", 0.5, 0.5)
        with pytest.raises(StoreUnsuitable, match="refuses conditional writes"):
            S3Files("bucket", "lake", how).probe("t/_headwater")
        store.shutdown()


@pytest.mark.parametrize("keys", [(ACCESS_KEY, "not-the-secret"), ("nobody", SECRET_KEY)], ids=["secret", "user"])
def test_wrong_keys_are_refused_by_a_store_that_checks_signatures(
    s3proxy: S3proxyServer, keys: tuple[str, str]
) -> None:
    bucket = s3proxy.new_bucket(f"test-{uuid.uuid4().hex}")
    files = S3Files(bucket, "lake", S3Options(s3proxy.endpoint, "us-east-1", *keys))
    for attempt in (lambda: files.write("t/one", b"1"), lambda: files.create("t/one", b"1")):
        with pytest.raises(SinkUnavailable, match=f"s3://{bucket}") as refused:
            attempt()
        assert not isinstance(refused.value, StoreUnsuitable)
        assert keys[1] not in str(refused.value)


def test_a_store_that_was_away_is_used_again(s3proxy: S3proxyServer) -> None:
    bucket = s3proxy.new_bucket(f"test-{uuid.uuid4().hex}")
    how = S3Options(s3proxy.endpoint, "us-east-1", ACCESS_KEY, SECRET_KEY, 1.0, 2.0)
    files = S3Files(bucket, "lake", how)
    assert files.create("t/head-1", b"1")
    s3proxy.stop()
    try:
        for attempt in (lambda: files.create("t/head-2", b"2"), lambda: files.write("t/two", b"2")):
            with pytest.raises(SinkUnavailable):
                attempt()
    finally:
        s3proxy.restart()
    assert not files.create("t/head-1", b"again")
    assert files.create("t/head-2", b"2")
    assert files.read("t/head-1") == b"1"


class TestHdfsFiles(FileSystemSuite):
    implementations = (HdfsFiles,)

    @pytest.fixture
    def files(self, hdfs: HdfsServer) -> FileSystem:
        return HdfsFiles(f"/test-{uuid.uuid4().hex}/lake", HdfsOptions(f"http://{hdfs.address}", "root"))


def test_an_s3_that_does_not_answer_says_so_in_time(tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        files = S3Files("bucket", "", S3Options(endpoint, "us-east-1", "a", "hidden-key", 0.2, 0.2))
        with pytest.raises(SinkUnavailable, match="bucket") as unavailable:
            files.write("t/one", b"1")
    assert "hidden-key" not in str(unavailable.value)


def test_an_hdfs_that_does_not_answer_says_so_and_shows_no_token() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        files = HdfsFiles("/lake", HdfsOptions(address, "root", "hidden-token", 0.5))
        with pytest.raises(SinkUnavailable, match="does not answer") as unavailable:
            files.read("t/one")
    assert "hidden-token" not in str(unavailable.value)
