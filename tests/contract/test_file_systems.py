"""The places for files keep what the contract of a FileSystem promises."""

from __future__ import annotations

import os
import socket
import stat
import uuid
from pathlib import Path

import pytest

from headwater.connectors.lake.file_system import FileSystem
from headwater.connectors.lake.hdfs_files import HdfsFiles, HdfsOptions
from headwater.connectors.lake.local_files import UNFINISHED, LocalFiles
from headwater.connectors.lake.s3_files import S3Files, S3Options
from headwater.errors import SinkUnavailable
from headwater.testing.suites.file_system import FileSystemSuite
from servers.hdfs import HdfsServer
from servers.moto import KEY, MotoServer


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
