"""The documentation keeps its word: links resolve, Python blocks run, and named make targets exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

from pages.following import READ

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")])
LINK = re.compile(r"(?<!\\)\[[^\]]*\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)")
FENCE = re.compile(r"^```(\w*)([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*$", re.MULTILINE)
FOLLOWED = frozenset(page for pages in READ for page in pages)
MAKE_TARGET = re.compile(r"`make ([a-z][a-z-]*)")


def _prose(text: str) -> str:
    """A page without its fenced blocks: what looks like a link or a heading in there is not one."""
    return FENCE.sub("", text)


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, formed as code hosts form them."""
    headings = HEADING.findall(_prose(page.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _page_name(page: Path) -> str:
    return str(page.relative_to(REPOSITORY))


@pytest.mark.parametrize("page", PAGES, ids=_page_name)
def test_every_internal_link_leads_somewhere(page: Path) -> None:
    broken = []
    for target in LINK.findall(_prose(page.read_text(encoding="utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        path_text, _, anchor = unquote(target).partition("#")
        path = (page.parent / path_text).resolve() if path_text else page
        if not path.exists() or (anchor and path.suffix == ".md" and anchor not in _anchors(path)):
            broken.append(target)
    assert broken == []


def _python_blocks() -> list[tuple[str, str]]:
    """`python` blocks; one marked `python fragment` is quoted from somewhere and not run.

    Those of the README, the tutorials and the guides run in a project: see `test_blocks.py`.
    """
    return [
        (f"{_page_name(page)}:{number}", code)
        for page in PAGES
        if _page_name(page) not in FOLLOWED
        for number, (language, rest, code) in enumerate(FENCE.findall(page.read_text(encoding="utf-8")), 1)
        if language == "python" and "fragment" not in rest
    ]


@pytest.mark.parametrize(("where", "code"), [pytest.param(*block, id=block[0]) for block in _python_blocks()])
def test_every_python_block_runs(where: str, code: str, tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 0, f"{where}\n{run.stdout}{run.stderr}"


def test_every_make_target_the_pages_name_exists() -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    named = {name for page in PAGES for name in MAKE_TARGET.findall(page.read_text(encoding="utf-8"))}
    assert named - targets == set()


def test_every_page_is_reached_from_the_index() -> None:
    """Within docs/, every page is linked from its folder's index, and every index from docs/index.md."""
    docs = REPOSITORY / "docs"
    orphans = []
    for page in docs.rglob("*.md"):
        if page == docs / "index.md":
            continue
        index = (docs if page.name == "index.md" else page.parent) / "index.md"
        targets = LINK.findall(index.read_text(encoding="utf-8")) if index.exists() else []
        linked = {(index.parent / target.partition("#")[0]).resolve() for target in targets}
        if page.resolve() not in linked:
            orphans.append(_page_name(page))
    assert orphans == []


def test_the_places_for_new_code_exist() -> None:
    """Each path in CONTRIBUTING's tables exists, or its folder if the name is yet to be chosen."""
    section = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8").split("\n## Where new code goes\n")[1]
    paths = re.findall(r"`((?:src|tests|docs)/[^`]+)`", section.split("\n## ", maxsplit=1)[0])
    places = [(REPOSITORY / path).parent if "NAME" in path else REPOSITORY / path for path in paths]
    assert [str(place) for place in places if not place.exists()] == []
    assert len(paths) > 10
