"""Schemas from directories: only from inside them, versions in order, and never a kept failure."""

from __future__ import annotations

from pathlib import Path

import pytest

from headwater.errors import SchemaInvalid, SchemaNotFound, SchemaUnavailable, SchemaUriRefused
from headwater.schemas import LayeredRepository, LocalRepository, Schema, Validator, open_repositories

SCHEMA = "title: test/event\n$id: /test/event/{}\ntype: object\n"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    directory = tmp_path / "schemas" / "test" / "event"
    directory.mkdir(parents=True)
    for version in ("1.0.0", "1.9.0", "1.10.0"):
        (directory / f"{version}.yaml").write_text(SCHEMA.format(version))
    (directory / "current.yaml").write_text(SCHEMA.format("1.10.0"))
    (tmp_path / "secret.yaml").write_text("title: secret\n")
    return tmp_path / "schemas"


def test_the_extension_is_appended_if_there_is_none(base: Path) -> None:
    repository = LocalRepository(base)
    assert repository.get("/test/event/1.0.0").title == "test/event"
    assert repository.get("/test/event/1.0.0.yaml").title == "test/event"
    with pytest.raises(SchemaNotFound):
        LocalRepository(base, extension=None).get("/test/event/1.0.0")


def test_a_file_without_extension_is_found_too(base: Path) -> None:
    (base / "plain").write_text('{"title": "plain"}')
    assert LocalRepository(base).get("/plain").title == "plain"
    assert LocalRepository(base, extension=None).get("/plain").title == "plain"


def test_latest_is_the_greatest_version_by_number(base: Path) -> None:
    assert LocalRepository(base).get("/test/event/latest").uri == "/test/event/1.10.0"
    with pytest.raises(SchemaNotFound):
        LocalRepository(base).get("/test/nothing/latest")


def test_uris_lists_versions_only(base: Path) -> None:
    (base / "test" / "event" / "latest.yaml").symlink_to("1.10.0.yaml")
    (base / "test" / "event" / "1.0.0").symlink_to("1.0.0.yaml")
    uris = list(LocalRepository(base).uris())
    assert sorted(uris) == ["/test/event/1.0.0", "/test/event/1.10.0", "/test/event/1.9.0"]


@pytest.mark.parametrize("uri", ["/../secret", "/test/../../secret", "/%2e%2e/secret", "/..%2fsecret"])
def test_a_path_out_of_the_base_is_refused(base: Path, uri: str) -> None:
    with pytest.raises(SchemaUriRefused):
        LocalRepository(base).get(uri)


def test_an_absolute_path_is_taken_inside_the_base(base: Path) -> None:
    with pytest.raises(SchemaNotFound):
        LocalRepository(base).get(str(base.parent / "secret.yaml"))


@pytest.mark.parametrize(
    "uri", [f"/test/{'1' * 300}", "/" + "a/" * 3_000 + "b", f"/{'ü' * 200}/1.0.0", f"/{'x' * 300}/latest"]
)
def test_a_name_no_file_can_have_is_an_absent_schema(base: Path, uri: str) -> None:
    with pytest.raises((SchemaNotFound, SchemaUriRefused)):
        LocalRepository(base).get(uri)


def test_symbolic_links_may_not_lead_out_of_the_base(base: Path) -> None:
    (base / "file.yaml").symlink_to(base.parent / "secret.yaml")
    (base / "directory").symlink_to(base.parent)
    (base / "inside.yaml").symlink_to(base / "test" / "event" / "1.0.0.yaml")
    repository = LocalRepository(base)
    for uri in ("/file", "/directory/secret", "/directory/latest"):
        with pytest.raises(SchemaNotFound):
            repository.get(uri)
    assert repository.get("/inside").title == "test/event"


def test_a_document_that_is_no_object_is_invalid(base: Path) -> None:
    (base / "scalar.yaml").write_text("just a scalar")
    (base / "empty.yaml").write_text("")
    for uri in ("/scalar", "/empty"):
        with pytest.raises(SchemaInvalid):
            LocalRepository(base).get(uri)


def test_the_first_repository_that_has_it_wins(base: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "test" / "event"
    other.mkdir(parents=True)
    (other / "1.0.0.yaml").write_text("title: other\n")
    (other / "2.0.0.yaml").write_text("title: other\n")
    repository = open_repositories(["schemas", "other"], root=tmp_path)
    assert repository.get("/test/event/1.0.0").title == "test/event"
    assert repository.get("/test/event/2.0.0").title == "other"
    assert "/test/event/2.0.0" in set(repository.uris())


def test_what_is_found_is_kept_and_what_is_not_is_asked_for_again(base: Path) -> None:
    validator = Validator(open_repositories([str(base)]))
    with pytest.raises(SchemaNotFound):
        validator.compile("/test/event/2.0.0")
    assert validator.known("/test/event/2.0.0") is None
    file = base / "test" / "event" / "2.0.0.yaml"
    file.write_text(SCHEMA.format("2.0.0"))
    compiled = validator.compile("/test/event/2.0.0")
    file.unlink()
    assert validator.compile("/test/event/2.0.0") is compiled
    assert validator.known("/test/event/2.0.0") is compiled


def test_latest_is_looked_up_each_time(base: Path) -> None:
    validator = Validator(open_repositories([str(base)]))
    assert validator.compile("/test/event/latest").schema.uri == "/test/event/1.10.0"
    (base / "test" / "event" / "2.0.0.yaml").write_text(SCHEMA.format("2.0.0"))
    assert validator.compile("/test/event/latest").schema.uri == "/test/event/2.0.0"


class Unreachable:
    """A repository that is down."""

    def get(self, uri: str) -> Schema:
        raise SchemaUnavailable("down")

    def uris(self) -> list[str]:
        return []


def test_an_unreachable_repository_is_unavailable_not_not_found(base: Path) -> None:
    repository = LayeredRepository([Unreachable(), LocalRepository(base)])
    assert repository.get("/test/event/1.0.0").title == "test/event"
    with pytest.raises(SchemaUnavailable):
        repository.get("/test/event/9.9.9")


def test_declared_fields_are_found_through_properties() -> None:
    document = {
        "properties": {
            "meta": {"type": "object", "properties": {"id": {"type": "string"}}},
            "open": {"type": "object"},
            "text": {"type": "string"},
        },
        "allOf": [{"properties": {"http": {"properties": {"method": {}}}}}],
    }
    schema = Schema("/test/1.0.0", document, None, "")
    assert schema.declares("meta.id")
    assert schema.declares("open.anything.below")
    assert schema.declares("http.method")
    assert not schema.declares("meta.dt")
    assert not schema.declares("text.part")
    assert not schema.declares("absent")
