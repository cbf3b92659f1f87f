"""The how-to guides that need a broker or a browser: every block does what the page says, in a fresh project."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from pages.following import READ, a_reader, follow, scene_of


@pytest.mark.parametrize("page", [page for (page, *_) in READ if "kafka" in scene_of(page).needs])
def test_what_a_page_about_kafka_shows_is_accepted(page: str, tmp_path: Path, kafka_server: str) -> None:
    with a_reader(tmp_path) as reader:
        reader.set("HEADWATER_LOG", f"kafka://{kafka_server}/{uuid.uuid4().hex[:12]}.")
        follow(reader, page)


@pytest.mark.browser
@pytest.mark.parametrize("page", [page for (page, *_) in READ if "chromium" in scene_of(page).needs])
def test_what_a_page_for_browsers_shows_is_accepted(page: str, tmp_path: Path, chromium_executable: str) -> None:
    with a_reader(tmp_path) as reader:
        follow(reader, page, chromium_executable)


@pytest.mark.parametrize("page", [page for pages in READ for page in pages if scene_of(page).elsewhere])
def test_the_test_that_follows_a_page_instead_is_there(page: str, repository: Path) -> None:
    test = repository / scene_of(page).elsewhere
    assert Path(page).name in test.read_text(encoding="utf-8")
