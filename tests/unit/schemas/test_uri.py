"""Which schema URIs are looked up, and which are refused before anything is opened."""

from __future__ import annotations

import pytest

from headwater.errors import SchemaUriRefused
from headwater.schemas.uri import canonical_uri, check_producer_uri, has_extension, version_of


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "/",
        "http://127.0.0.1/test/1.0.0",
        "HTTPS://example.org/test/1.0.0",
        "file:///etc/passwd",
        "file:test/1.0.0",
        "//host/test/1.0.0",
        "/../secret",
        "/a/../../secret",
        "..",
        "/a/./b",
        "/a//b",
        "/a/",
        "/%2e%2e/secret",
        "/%2E%2E%2Fsecret",
        "/a%00b",
        "/a\x00b",
        "/a\\..\\b",
        "/a b",
        "/a#/properties/meta",
        "/a?b",
        "/" + "a" * 2000,
    ],
)
def test_a_uri_that_is_not_a_path_inside_a_repository_is_refused(uri: str) -> None:
    with pytest.raises(SchemaUriRefused):
        canonical_uri(uri)
    with pytest.raises(SchemaUriRefused):
        check_producer_uri(uri)


@pytest.mark.parametrize("uri", ["/test/event/1.0.0", "/a/b/c/1.2.3.yaml", "/some-thing/with_name/1.0.0"])
def test_a_path_is_its_own_canonical_form(uri: str) -> None:
    assert canonical_uri(uri) == uri
    check_producer_uri(uri)


def test_a_missing_slash_is_put_in_front() -> None:
    assert canonical_uri("test/event/1.0.0") == "/test/event/1.0.0"


@pytest.mark.parametrize("uri", ["/test/event/latest", "/test/event/latest.yaml", "latest"])
def test_latest_is_refused_from_producers_only(uri: str) -> None:
    canonical_uri(uri)
    with pytest.raises(SchemaUriRefused, match="no fixed version"):
        check_producer_uri(uri)


def test_a_number_is_no_extension() -> None:
    assert not has_extension("/test/1.0.0")
    assert not has_extension("/te.st/event")
    assert has_extension("/test/1.0.0.yaml")
    assert version_of("1.20.3") == (1, 20, 3)
    assert version_of("1.0.0.yaml") is None
