"""Every source of schema files keeps the contract: a directory, a pinned one, and one as it was at a commit."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from headwater.schemas.workspace.pinned_repository import (
    DirectorySource,
    PinnedSource,
    SchemaSource,
    content_hash,
    files_below,
)
from headwater.schemas.workspace.working_settings import PinnedRepository
from headwater.testing.suites.schema_source import NewSource, SchemaSourceSuite


class TestDirectorySource(SchemaSourceSuite):
    implementations = (DirectorySource,)

    @pytest.fixture
    def new_source(self) -> NewSource:
        return DirectorySource


class TestPinnedSourceByContent(SchemaSourceSuite):
    implementations = (PinnedSource,)

    @pytest.fixture
    def new_source(self) -> NewSource:
        def new(base: Path) -> SchemaSource:
            return PinnedSource(PinnedRepository(path=base, sha256=content_hash(files_below(base))))

        return new


class TestPinnedSourceAtACommit(SchemaSourceSuite):
    implementations = (PinnedSource,)

    @pytest.fixture
    def new_source(self) -> NewSource:
        def new(base: Path) -> SchemaSource:
            def git(*arguments: str) -> str:
                identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
                asked = ["git", *identity, "-C", str(base), *arguments]
                return subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()

            git("init", "-q")
            git("add", "-A")
            git("commit", "-q", "-m", "schemas")
            commit = git("rev-parse", "HEAD")
            # What is there now is not what was pinned.
            (base / "test/event/1.0.0.yaml").write_bytes(b"changed since\n")
            (base / "absent.yaml").write_bytes(b"new\n")
            return PinnedSource(PinnedRepository(path=base, commit=commit))

        return new
