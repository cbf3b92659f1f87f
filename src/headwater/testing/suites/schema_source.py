"""What every `SchemaSource` must do, as tests: an implementation's test is a subclass with a `new_source` fixture.

class TestDirectorySource(SchemaSourceSuite):
    implementations = (DirectorySource,)

    @pytest.fixture
    def new_source(self):   # makes a source of the files below a directory
        return lambda base: DirectorySource(base)
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from headwater.schemas.workspace.pinned_repository import SchemaSource
from headwater.testing.suites.contract_suite import ContractSuite

FILES = {
    "test/event/1.0.0.yaml": b"title: test/event\n",
    "test/event/1.0.0.json": b"{}",
    "large/1.0.0.yaml": b"x" * 500,
}
NewSource = Callable[[Path], SchemaSource]


class SchemaSourceSuite(ContractSuite):
    """Subclass it; see the module."""

    contracts = (SchemaSource,)

    @pytest.fixture
    def source(self, tmp_path: Path, new_source: NewSource) -> SchemaSource:
        base = tmp_path / "base"
        for name, content in {**FILES, "../outside.yaml": b"never read\n"}.items():
            (base / name).parent.mkdir(parents=True, exist_ok=True)
            (base / name).write_bytes(content)
        (base / "link.yaml").symlink_to(tmp_path / "outside.yaml")
        return new_source(base)

    def test_the_suite_is_run_on_what_it_names(self, source: SchemaSource) -> None:
        self.check_implementation(source)

    def test_files_are_read_as_they_are(self, source: SchemaSource) -> None:
        for _ in range(2):
            assert {name: source.read(name, 1_000) for name in FILES} == FILES

    def test_a_file_over_the_limit_is_cut_one_byte_behind_it(self, source: SchemaSource) -> None:
        assert source.read("large/1.0.0.yaml", 100) == b"x" * 101
        assert source.read("large/1.0.0.yaml", 500) == b"x" * 500

    @pytest.mark.parametrize("path", ["absent.yaml", "test/event", "test", "../outside.yaml", "link.yaml"])
    def test_what_is_no_file_inside_is_none(self, source: SchemaSource, path: str) -> None:
        assert source.read(path, 1_000) is None

    def test_messages_name_the_file(self, source: SchemaSource) -> None:
        assert source.name("test/event/1.0.0.yaml").endswith("test/event/1.0.0.yaml")
