"""Follows pages of the documentation from their first block to the last, each in the scene it presupposes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from pages.blocks import Block, blocks_of
from pages.browser import open_page
from pages.reader import Reader
from pages.scenes import SCENES, Scene, edits_arrive, project

REPOSITORY = Path(__file__).resolve().parents[2]
# What a newcomer reads, in this order and in one place; and each guide by itself.
FIRST = ("README.md", "docs/tutorials/first-event.md", "docs/tutorials/first-stream.md")
GUIDES = sorted(str(page.relative_to(REPOSITORY)) for page in (REPOSITORY / "docs" / "how-to").glob("*.md"))
# What else shows an event or a command of a project: the page that comes with one, and the reference of the intake.
ALSO = ("src/headwater/cli/template/README.md", "docs/reference/http-api.md")
# Tutorials that stand alone.
ALONE = ("docs/tutorials/first-job.md",)
READ = [FIRST, *((page,) for page in ALONE), *((page,) for page in (*GUIDES, *ALSO) if page != "docs/how-to/index.md")]


def scene_of(page: str) -> Scene:
    return SCENES.get(page, Scene())


def blocks(page: str) -> list[Block]:
    return blocks_of(REPOSITORY / page, page)


@contextmanager
def a_reader(directory: Path) -> Iterator[Reader]:
    """A reader with a directory of his own, whose server is ended in the end."""
    with closing(Reader(directory)) as reader:
        yield reader


def follow(reader: Reader, page: str, chromium: str = "") -> None:
    """Do what a page shows, and fail at the first thing that is not as it says. `chromium`: the path of a browser."""
    scene = scene_of(page)
    reader.leave(active=scene.active)
    if scene.project:
        project(reader)
    if scene.given:
        scene.given(reader)
    followed = [block for block in blocks(page) if "skip" not in block.marks]
    for block in blocks(page):
        reader.go_on(block)
        if block in followed:
            _do(reader, block, scene, chromium)
    if any("file" in block.marks or "replaces" in block.marks for block in followed):
        code, said = reader.run("headwater check")
        assert code == 0, f"{page}: what it writes is not accepted\n{said}"
    if scene.then:
        scene.then(reader)


def _do(reader: Reader, block: Block, scene: Scene, chromium: str) -> None:
    if block.marks.keys() & {"file", "replaces"}:
        reader.write(block)
    elif block.language in ("console", "sh"):
        reader.type(block, scene.before)
    elif block.language == "python":
        reader.program(block)
    else:
        assert block.language in ("html", "js"), f"{block.where}: what to do with it is not said; see pages/blocks.py"
        reader.require_server()
        with open_page(chromium, block.language, block.text, reader.address) as complaints:
            if block.language == "html":
                edits_arrive(reader, 1)
        assert complaints == [], block.where
