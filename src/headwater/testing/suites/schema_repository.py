"""What every `SchemaRepository` must do, as tests: an implementation's test is a subclass with a `new_repository`.

class TestLocalRepository(SchemaRepositorySuite):
    implementations = (LocalRepository,)

    @pytest.fixture
    def new_repository(self):   # makes a repository of the files below a directory
        return lambda base: LocalRepository(base)
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

import pytest

from headwater.errors import SchemaInvalid, SchemaNotFound, SchemaUriRefused
from headwater.schemas.dialect import DRAFT_07
from headwater.schemas.repository import SchemaRepository
from headwater.testing.suites.contract_suite import ContractSuite

VERSIONS = ("1.0.0", "1.2.0", "1.10.0")
URIS = tuple(f"/test/event/{version}" for version in VERSIONS)
NewRepository = Callable[[Path], SchemaRepository]


def text_of(uri: str) -> str:
    """A schema as its file has it."""
    title, _, version = uri.strip("/").rpartition("/")
    return (
        f'title: {title}\n$id: {uri}\n$schema: "{DRAFT_07}"\ntype: object\n'
        f"properties:\n  since: {{const: '{version}'}}\n  text: {{type: string}}\n"
    )


class SchemaRepositorySuite(ContractSuite):
    """Subclass it; see the module. `lists`: it can list its schemas; `knows_latest`: it has `latest`."""

    contracts = (SchemaRepository,)
    lists: ClassVar[bool] = True
    knows_latest: ClassVar[bool] = True

    @pytest.fixture
    def base(self, tmp_path: Path) -> Path:
        """Three versions of a schema, one of another, a file that is not a schema, and files that must never be
        read.
        """
        base = tmp_path / "base"
        for uri in (*URIS, "/other/1.0.0"):
            file = base / f"{uri[1:]}.yaml"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text_of(uri), encoding="utf-8")
        # If files are served over HTTP, the greatest version has this name as well.
        (base / "test" / "event" / "latest.yaml").write_text(text_of(URIS[-1]), encoding="utf-8")
        (base / "broken").mkdir()
        (base / "broken" / "1.0.0.yaml").write_text("- a list\n", encoding="utf-8")
        (tmp_path / "outside").mkdir()
        (tmp_path / "outside" / "1.0.0.yaml").write_text(text_of("/outside/1.0.0"), encoding="utf-8")
        return base

    @pytest.fixture
    def repository(self, base: Path, new_repository: NewRepository) -> SchemaRepository:
        """The test that requests it closes it."""
        return new_repository(base)

    def test_the_suite_is_run_on_what_it_names(self, repository: SchemaRepository) -> None:
        self.check_implementation(repository)
        repository.close()

    def test_a_schema_is_found_under_its_uri(self, repository: SchemaRepository) -> None:
        for uri, version in zip(URIS, VERSIONS, strict=True):
            found = repository.get(uri)
            assert (found.uri, found.title, found.dialect) == (uri, "test/event", DRAFT_07)
            assert found.document["properties"]["since"] == {"const": version}
            assert found.declares("text")
            assert not found.declares("absent")
        repository.close()

    def test_a_uri_without_its_first_slash_is_the_same(self, repository: SchemaRepository) -> None:
        assert repository.get("other/1.0.0").uri == "/other/1.0.0"
        repository.close()

    def test_an_answer_never_changes(self, base: Path, repository: SchemaRepository) -> None:
        first, second = repository.get(URIS[0]), repository.get(URIS[0])
        assert (first.uri, first.document) == (second.uri, second.document)
        repository.close()

    def test_latest_is_the_greatest_version_under_its_own_uri(self, repository: SchemaRepository) -> None:
        if not self.knows_latest:
            with pytest.raises(SchemaNotFound):
                repository.get("/test/event/latest")
        else:
            found = repository.get("/test/event/latest")
            assert (found.uri, found.document["properties"]["since"]) == (URIS[-1], {"const": "1.10.0"})
        repository.close()

    @pytest.mark.parametrize(
        "uri", ["/test/event/9.9.9", "/absent/1.0.0", "/test", "/test/event/1.0", "/absent/latest"]
    )
    def test_what_is_not_there_is_not_found(self, repository: SchemaRepository, uri: str) -> None:
        with pytest.raises(SchemaNotFound):
            repository.get(uri)
        repository.close()

    @pytest.mark.parametrize(
        "uri",
        [
            "/../outside/1.0.0",
            "../outside/1.0.0",
            "/test/../../outside/1.0.0",
            "/%2e%2e/outside/1.0.0",
            "//localhost/test/event/1.0.0",
            "http://localhost/test/event/1.0.0",
            "file:///test/event/1.0.0",
            "/test//event/1.0.0",
            "/test/event/1.0.0?x",
            "/test/event/1.0.0#x",
            "/test/event/1.0.0\n",
            "/test\\event/1.0.0",
            "/" + "x" * 2_000,
            "",
        ],
    )
    def test_a_uri_that_is_no_path_inside_the_repository_is_refused(
        self, repository: SchemaRepository, uri: str
    ) -> None:
        with pytest.raises(SchemaUriRefused):
            repository.get(uri)
        repository.close()

    def test_a_file_that_is_no_schema_is_invalid_and_harms_no_other(self, repository: SchemaRepository) -> None:
        for _ in range(2):
            with pytest.raises(SchemaInvalid):
                repository.get("/broken/1.0.0")
        assert repository.get(URIS[0]).uri == URIS[0]
        repository.close()

    def test_every_version_is_listed_once_and_can_be_had(self, repository: SchemaRepository) -> None:
        listed = list(repository.uris())
        if self.lists:
            assert {*URIS, "/other/1.0.0"} <= set(listed) <= {*URIS, "/other/1.0.0", "/broken/1.0.0"}
        else:
            assert listed == []
        assert len(set(listed)) == len(listed)
        repository.close()

    def test_threads_may_ask_at_once(self, repository: SchemaRepository) -> None:
        with ThreadPoolExecutor(8) as threads:
            found = list(threads.map(functools.partial(_asked, repository), [*URIS, "/absent/1.0.0"] * 25))
        assert found == [*URIS, None] * 25
        repository.close()


def _asked(repository: SchemaRepository, uri: str) -> str | None:
    try:
        return repository.get(uri).uri
    except SchemaNotFound:
        return None
