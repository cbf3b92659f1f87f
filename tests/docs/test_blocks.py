"""The README, the tutorials and the how-to guides: every block does what the page says, in a fresh project.

Pages that need a broker or a browser are followed by `tests/end_to_end/test_guides_on_servers.py`.
"""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from pages.commands import commands_in, help_texts, problem_of
from pages.following import READ, REPOSITORY, a_reader, blocks, follow, scene_of
from pages.outputs import differences
from pages.scenes import project

PAGES = [page for pages in READ for page in pages]


# Some pages have dozens of commands, each a process of its own.
@pytest.mark.timeout(360)
@pytest.mark.parametrize(
    "pages",
    [pages for pages in READ if not (scene_of(pages[0]).needs or scene_of(pages[0]).elsewhere)],
    ids=lambda pages: pages[-1],
)
def test_what_the_pages_show_is_accepted(pages: tuple[str, ...], tmp_path: Path) -> None:
    with a_reader(tmp_path) as reader:
        for page in pages:
            follow(reader, page)


def test_the_example_of_produce_is_accepted(tmp_path: Path) -> None:
    with a_reader(tmp_path) as reader:
        reader.leave()
        project(reader)
        reader.require_server()
        _, help_text = reader.run("headwater produce --help")
        example = help_text.partition("Examples:")[2].partition("headwater produce - ")[0]
        code, said = reader.run(textwrap.dedent(example))
    assert (code, said) == (0, "accepted\n")


def test_what_cannot_be_run_is_marked_with_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    """A new mark belongs on this list, where somebody sees it; the fewer the better."""
    marked = {}
    for page in PAGES:
        reasons = [block.marks["skip"] for block in blocks(page) if "skip" in block.marks]
        assert all(reasons), f"{page}: a block is marked without a reason"
        if reasons:
            marked[page.rpartition("/")[2]] = reasons
    with capsys.disabled():
        for name, reasons in marked.items():
            print(f"\nnot run, {name}: {'; '.join(reasons)}", end="")
    assert {name: len(reasons) for name, reasons in marked.items()} == {
        "README.md": 1,
        "check-schemas-in-ci.md": 2,
        "deploy-on-kubernetes.md": 5,
        "export-declarations.md": 1,
        "fill-a-table.md": 6,
        "import-stream-configuration.md": 1,
        "ingest-into-a-lake.md": 5,
        "keep-a-table.md": 2,
        "manage-schemas.md": 1,
        "monitor-streams.md": 4,
        "publish-database-changes.md": 1,
        "read-other-systems.md": 3,
        "run-on-flink.md": 5,
        "serve-a-table.md": 2,
        "test-an-adapter.md": 2,
        "test-servers.md": 2,
        "use-streams-from-java-and-scala.md": 4,
        "write-a-connector.md": 3,
        "write-flink-programs.md": 4,
    }


# The reference of the command line is made of the commands themselves.
WRITTEN = sorted(
    str(page.relative_to(REPOSITORY)) for page in (REPOSITORY / "docs").rglob("*.md") if page.name != "cli.md"
)


@pytest.mark.parametrize("page", [*WRITTEN, "README.md", "src/headwater/cli/template/README.md"])
def test_the_commands_of_a_page_have_the_verbs_and_options_it_names(page: str) -> None:
    """Also those in its prose, and of blocks that are not run: what was renamed fails for its reader only."""
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    found = [(words, problem_of(words)) for words in commands_in(text)]
    assert [f"headwater {' '.join(words)}: {problem}" for words, problem in found if problem] == []


def test_the_examples_of_every_help_have_the_verbs_and_options_they_name() -> None:
    found = [(words, problem_of(words)) for text in help_texts() for words in commands_in(text)]
    assert found
    assert [f"headwater {' '.join(words)}: {problem}" for words, problem in found if problem] == []


@pytest.mark.parametrize(
    ("shown", "said", "agree"),
    [
        ("accepted   200,000", "accepted 7", True),
        ("accepted   200,000", "refused 7", False),
        ("at 2026-01-31T12:00:00.123Z", "at 2031-12-01", True),
        ("http://127.0.0.1:8080/ is up", "http://127.0.0.1:41234/ is up", True),
        ("checksum 582a1ffd9f83", "checksum 00cc4be0a255", True),
        ("first\n…\nlast", "first\nlast", True),
        ("first\n…\nlast", "first\na\nb\nlast", True),
        ("first\n…\nlast", "first\na", False),
        ("a line that…", "a line that goes on", True),
        ("one", "one\ntwo", False),
        ("one\ntwo", "one", False),
    ],
)
def test_numbers_times_and_ports_may_differ_but_words_may_not(shown: str, said: str, agree: bool) -> None:
    assert (not differences(shown, said)) is agree
