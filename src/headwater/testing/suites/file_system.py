"""What every `FileSystem` must do, as tests: an implementation's test is a subclass with a `files` fixture.

class TestLocalFiles(FileSystemSuite):
    implementations = (LocalFiles,)

    @pytest.fixture
    def files(self, tmp_path):
        return LocalFiles(tmp_path / "lake")

The root of `files` is empty, and exists or not.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from headwater.connectors.lake.file_system import Entry, FileSystem
from headwater.errors import SinkUnavailable
from headwater.testing.suites.contract_suite import ContractSuite

NAME = "datacenter=eqiad/year=2016/month=06/day=27/hour=05/00000001-ab.parquet"


class FileSystemSuite(ContractSuite):
    """Subclass it; see the module."""

    contracts = (FileSystem,)

    def test_the_suite_is_run_on_what_it_names(self, files: FileSystem) -> None:
        self.check_implementation(files)

    def test_what_is_not_there_is_nothing(self, files: FileSystem) -> None:
        assert files.read("nothing") is None
        assert files.read("nothing/below") is None
        assert list(files.entries("")) == []
        assert list(files.entries("nothing")) == []
        files.delete("nothing")
        files.delete("nothing/below")
        files.rename("nothing", "something")
        files.rename_directory("nothing", "something")
        assert list(files.entries("")) == []

    @pytest.mark.parametrize("content", [b"", b"one", bytes(range(256)) * 4096], ids=["empty", "small", "large"])
    def test_a_file_is_read_as_it_was_written(self, files: FileSystem, content: bytes) -> None:
        files.write(NAME, content)
        assert files.read(NAME) == content

    def test_a_file_is_replaced(self, files: FileSystem) -> None:
        files.write(NAME, b"one")
        files.write(NAME, b"2")
        assert files.read(NAME) == b"2"
        directory, _, name = NAME.rpartition("/")
        assert list(files.entries(directory)) == [Entry(name, 1)]

    def test_entries_are_files_and_directories_by_name(self, files: FileSystem) -> None:
        files.write("table/b=2/x", b"12")
        files.write("table/a", b"1")
        files.write("table/b=1/x", b"1")
        assert list(files.entries("table")) == [Entry("a", 1), Entry("b=1", 0, True), Entry("b=2", 0, True)]

    def test_only_an_absent_file_is_created(self, files: FileSystem) -> None:
        assert files.create("t/head-1", b"one")
        assert not files.create("t/head-1", b"two")
        assert files.read("t/head-1") == b"one"
        assert [entry.name for entry in files.entries("t")] == ["head-1"]

    def test_a_file_that_is_replaced_is_read_whole(self, files: FileSystem) -> None:
        contents = [bytes([number]) * (100 + 900 * number) for number in range(4)]
        files.write(NAME, contents[0])
        with ThreadPoolExecutor(1) as pool:
            writes = [pool.submit(files.write, NAME, content) for content in contents * 4]
            while not all(write.done() for write in writes):
                assert files.read(NAME) in contents
        for write in writes:
            write.result()

    def test_a_file_that_is_deleted_is_read_whole_or_not_at_all(self, files: FileSystem) -> None:
        def write_and_delete() -> None:
            for _ in range(12):
                files.write(NAME, b"x" * 100)
                files.delete(NAME)

        with ThreadPoolExecutor(1) as pool:
            done = pool.submit(write_and_delete)
            while not done.done():
                assert files.read(NAME) in (b"x" * 100, None)
        done.result()
        assert files.read(NAME) is None

    def test_trying_the_place_leaves_nothing(self, files: FileSystem) -> None:
        files.probe("t/_headwater")
        files.probe("t/_headwater")
        assert list(files.entries("t/_headwater")) == []
        assert files.create("t/_headwater/head-1", b"one")

    def test_one_of_many_creates_a_file(self, files: FileSystem) -> None:
        if not files.creates_exclusively:
            pytest.skip("this place has no way to create a file exclusively")
        for number in range(5):
            with ThreadPoolExecutor(8) as pool:
                contents = [str(writer).encode() for writer in range(8)]
                made = list(pool.map(lambda content, at=number: files.create(f"race/{at}", content), contents))
            assert made.count(True) == 1
            assert files.read(f"race/{number}") == contents[made.index(True)]

    def test_a_renamed_file_replaces_another_one_and_it_can_be_repeated(self, files: FileSystem) -> None:
        files.write("t/.hidden", b"new")
        files.write("t/shown", b"old")
        for _ in range(2):
            files.rename("t/.hidden", "t/shown")
            assert files.read("t/shown") == b"new"
            assert files.read("t/.hidden") is None

    def test_a_renamed_file_may_need_a_new_directory(self, files: FileSystem) -> None:
        files.write("t/one", b"1")
        files.rename("t/one", "u/v/one")
        assert files.read("u/v/one") == b"1"

    def test_a_directory_is_renamed_with_everything_in_it(self, files: FileSystem) -> None:
        files.write("t/a/one", b"1")
        files.write("t/two", b"2")
        files.rename_directory("t", "u")
        assert [files.read("u/a/one"), files.read("u/two"), files.read("t/two")] == [b"1", b"2", None]
        assert list(files.entries("t")) == []

    def test_a_deleted_file_is_gone(self, files: FileSystem) -> None:
        files.write("t/one", b"1")
        files.delete("t/one")
        files.delete("t/one")
        assert files.read("t/one") is None

    def test_a_file_that_is_too_large_is_not_read(self, files: FileSystem) -> None:
        files.write("t/one", b"12345")
        assert files.read("t/one", bytes_max=5) == b"12345"
        with pytest.raises(SinkUnavailable, match="4 bytes"):
            files.read("t/one", bytes_max=4)

    @pytest.mark.parametrize("name", ["with space", "percent%41", "plus+", "ünïcode", "quote'", "a=b&c"])
    def test_names_are_kept_as_they_are(self, files: FileSystem, name: str) -> None:
        files.write(f"names/{name}", b"1")
        assert files.read(f"names/{name}") == b"1"
        assert [entry.name for entry in files.entries("names")] == [name]
