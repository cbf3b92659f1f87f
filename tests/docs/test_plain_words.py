"""Documentation, help, pages and messages use the field's words: others are refused outside quotes and code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCE = REPOSITORY / "src" / "headwater"
# Decisions are never edited, and released parts of the changelog neither.
PAGES = sorted(
    [
        *(page for page in REPOSITORY.glob("*.md") if page.name != "CHANGELOG.md"),
        *(page for page in (REPOSITORY / "docs").rglob("*.md") if "decisions" not in page.parts),
        *(REPOSITORY / "src").rglob("*.md"),
    ]
)
# What is refused, and the field's word for it.
BANNED = {
    r"told": "emitted, reported, listed",
    r"tells?": "report, show, distinguish",
    r"judged?|judges|judging|judge?ments?": "validate, check",
    r"anew": "again, from the beginning",
    r"whoever": "a client that, anyone who",
    r"(?:that|which) (?:is|are) none": "is not a …, is invalid",
    r"hasty|hastily": "fire and forget, or `hasty` as the name of the option",
    r"nobody's|somebody's": "does not exist, another client's",
    r"stands?(?! for\b|-ins?\b)": "is, is stored",
    r"beside": "next to, alongside, in addition to",
    r"go(?:es)? on|went on": "continue, resume",
    r"trouble": "error, failure",
    r"said": "reported, printed",
    r"by default one": "(default: …)",
    r"the present (?:one|directory)": "the current directory",
    r"whole hours?": "complete hour",
}
WORDS = re.compile("|".join(rf"\b(?:{word})\b" for word in BANNED), re.IGNORECASE)
# Texts of the original services, which clients know.
ORIGINAL = ("events hastily received.",)
_UNREAD = re.compile(
    r"^```.*?^```"  # fenced blocks
    r"|<!--.*?-->"
    r"|`+[^`]+`+"  # code
    r"|\]\([^)]*\)"  # the targets of links
    r"|\"[^\"\n]*\"|“[^”]*”",  # quotes
    re.MULTILINE | re.DOTALL,
)
_TEMPLATE_CODE = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)
_SHOWN_ATTRIBUTE = re.compile(r'\b(?:title|aria-label|placeholder|content|alt)="([^"]*)"')
_TAG = re.compile(r"<script\b.*?</script>|<[^>]*>", re.DOTALL)
_SCRIPT_TEXT = re.compile(
    r"//[^\n]*|/\*.*?\*/|/(?![/*\s])(?:[^/\\\n]|\\.)+/\w*|(\"[^\"\n]*\"|'[^'\n]*'|`[^`]*`)", re.DOTALL
)
_SCRIPT_VALUE = re.compile(r"\$\{[^}]*\}")


def _page_name(page: Path) -> str:
    return page.relative_to(REPOSITORY).as_posix()


def banned_words(text: str) -> list[str]:
    """The refused words of a page in order, in lower case, without those in code, quotes and addresses."""
    return [match.lower() for match in WORDS.findall(_UNREAD.sub(" ", text))]


def python_texts(code: str) -> Iterator[str]:
    """The docstrings of a module, and its string literals of three words and more: messages, hints, help."""
    tree = ast.parse(code)
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            text = "".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner:
            text = node.value
        else:
            continue
        if len(text.split()) > 2 and not text.endswith(ORIGINAL):
            yield text


def template_texts(template: str) -> Iterator[str]:
    """What a page shows of a template: its text, and the attributes that people see or hear."""
    shown = _TEMPLATE_CODE.sub(" … ", template)
    yield from _SHOWN_ATTRIBUTE.findall(shown)
    yield _TAG.sub(" ", shown)


def script_texts(script: str) -> Iterator[str]:
    """The string literals of a script that have a space."""
    for literal in _SCRIPT_TEXT.findall(script):
        if " " in literal:
            yield _SCRIPT_VALUE.sub("…", literal[1:-1])


READERS = {".py": python_texts, ".html": template_texts, ".js": script_texts}


def package_files(package: str) -> list[Path]:
    """The files of a package that have texts; "headwater": its own modules; "clients": the browser client."""
    if package == "clients":
        return sorted((REPOSITORY / "clients").rglob("*.js"))
    if package == "headwater":
        return sorted(SOURCE.glob("*.py"))
    return sorted(file for file in (SOURCE / package).rglob("*") if file.suffix in READERS)


def package_words(package: str) -> list[str]:
    """The refused words in the texts of a package, each with its file."""
    found = []
    for file in package_files(package):
        content = file.read_text(encoding="utf-8")
        # Most files have none of the words anywhere, so there is nothing to parse.
        texts = READERS[file.suffix](content) if WORDS.search(content) else ()
        found += [f"{_page_name(file)}: {word}" for text in texts for word in banned_words(text)]
    return found


PACKAGES = sorted({"headwater", "clients", *(init.parent.name for init in SOURCE.glob("*/__init__.py"))})


@pytest.mark.parametrize("page", PAGES, ids=_page_name)
def test_a_page_has_none_of_the_refused_words(page: Path) -> None:
    assert banned_words(page.read_text(encoding="utf-8")) == [], f"the field says: {BANNED}"


def test_the_help_of_every_verb_has_none_of_the_refused_words() -> None:
    # The page shows the help as it is printed (see test_reference.py), in fenced blocks.
    page = (REPOSITORY / "docs" / "reference" / "cli.md").read_text(encoding="utf-8").replace("```", "")
    assert "Usage: headwater up" in page
    assert banned_words(page) == [], f"the field says: {BANNED}"


@pytest.mark.parametrize("package", PACKAGES)
def test_docstrings_messages_and_pages_have_none_of_the_refused_words(package: str) -> None:
    assert package_words(package) == [], f"the field says: {BANNED}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("An event is Judged,\nanew.", ["judged", "anew"]),
        ("Whoever sends a batch that is none is told.", ["whoever", "that is none", "told"]),
        ("It is answered hastily.", ["hastily"]),
        ("`*` stands for any text, and stands there.", ["stands"]),
        ("Retold, adjudged and a `hasty` request of [this page](hasty-events.md).", []),
        ('The original says "nothing was told".\n\n```text\nwhoever\n```\n', []),
        ("a ``judge` of`` code", []),
    ],
)
def test_the_words_are_found_outside_quotes_and_code(text: str, expected: list[str]) -> None:
    assert banned_words(text) == expected


def test_docstrings_and_messages_of_a_module_are_read_and_names_are_not() -> None:
    code = (
        '"""Judge events."""\n'
        "def told(judge):\n"
        '    """Go on."""\n'
        '    raise Refused(f"It goes on at {judge}.", hint="Ask whoever made it.")  # anew\n'
        'KEY = "trouble"\n'
    )
    found = [word for text in python_texts(code) for word in banned_words(text)]
    assert sorted(found) == ["goes on", "whoever"]


def test_what_a_page_shows_of_a_template_and_a_script_is_read_and_code_is_not() -> None:
    template = '<p class="told" title="Who is told">{{ job.trouble }} goes on</p><script>let beside = 1</script>'
    assert [word for text in template_texts(template) for word in banned_words(text)] == ["told", "goes on"]
    script = 'const trouble = "in trouble"; // beside it\nshow("in trouble", told.trouble);\n'
    assert [word for text in script_texts(script) for word in banned_words(text)] == ["trouble"] * 2
