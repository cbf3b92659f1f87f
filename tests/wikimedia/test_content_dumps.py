"""Dumps of wikis: equal to the real ones, read back, in files of any size, after kills, without what is missing."""

from __future__ import annotations

import asyncio
import bz2
import gzip
import json
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from headwater.testing.eventually import eventually
from headwater.testing.project_test import ProjectTest
from requirements import at_least_one, requires_fixtures
from wikimedia.page_events import WIKI, change
from wikimedia.project import FIXTURES, PROJECT, Event, Ran, need_library, read, run_files
from wikimedia.test_revision_tokens import rebuilt

CONTENT = "derived/page_content_change_content_history.expected.jsonl.gz"
ADAM = "derived/page_content_change_adam_himebauch.expected.jsonl.gz"
WORDS = "real/wikiwho/adam_himebauch_golden.json"
NAMESPACES = "real/content_history/wmf_raw_mediawiki_project_namespace_map.json.gz"
REAL = "real/content_history/MediawikiDumperOutputTest.{}.Sample.xml"
GENERATOR = "MediaWiki Content File Export unknown-version"
# The pages of the real dumps, and how many revisions each has there. One is of an older day than the events.
REVISIONS = {45046: 18, 279900: 15, 13327093: 59}
XML = "{http://www.mediawiki.org/xml/export-0.11/}"
DATE = "20260131"
Tree = tuple[str, tuple[Any, ...], str, tuple[Any, ...]]


def request(wiki: str) -> Event:
    meta = {"stream": "content_dumps.request.v1", "id": f"request-{wiki}", "dt": "2026-01-31T23:00:00Z"}
    return {
        "$schema": "/content_dumps/request/1.0.0",
        "meta": meta,
        "dt": meta["dt"],
        "wiki_id": wiki,
        "dump_date": DATE,
    }


def tables(events: list[Event], folder: Path, wikis: tuple[str, ...] = ()) -> list[str]:
    """The tables that a dump reads, made of these events, and of what is known of these wikis: options of a run."""
    options = []
    changes = folder / "changes.jsonl"
    changes.write_text("".join(f"{json.dumps(event)}\n" for event in events), "utf-8")
    for name in ("content_history", "current_pages", "site_namespaces"):
        rows = [row for row in read_namespaces() if row["dbname"] in wikis] if wikis else []
        if name == "content_history":
            rows = history(changes, folder)
        elif name == "current_pages":
            rows = made(name, folder, f"mediawiki.page_change.v1={changes}")
        file = folder / f"{name}.rows.jsonl"
        file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
        options += ["--table", f"{name}={file}"]
    return options


def history(changes: Path, folder: Path) -> list[Event]:
    """The rows of all revisions, made of a file of changes."""
    file = folder / "revisions.jsonl"
    revisions = made("content_revisions", folder, f"mediawiki.page_content_change.v1={changes}")
    file.write_text("".join(f"{json.dumps(row)}\n" for row in revisions), "utf-8")
    return made("content_history", folder, str(file))


def made(name: str, folder: Path, source: str) -> list[Event]:
    ran = run_files(name, [], folder, "--from", source)
    assert ran.errors == []
    return ran.outputs


def read_namespaces() -> list[Event]:
    with gzip.open(FIXTURES / NAMESPACES, "rt", encoding="utf-8") as rows:
        return [json.loads(row) for row in rows]


def dumped(events: list[Event], wikis: list[str], folder: Path, *options: str) -> Ran:
    out = f"folder={folder / 'dumps'}"
    settings = ("--set", out, "--set", f"generator={GENERATOR}", *options)
    return run_files(
        "content_dumps", [request(wiki) for wiki in wikis], folder, *tables(events, folder, tuple(wikis)), *settings
    )


def files_of(wiki: str, folder: Path) -> list[Path]:
    return sorted((folder / "dumps" / wiki / DATE).glob("*.xml.bz2"))


def tree(element: ElementTree.Element) -> Tree:
    """An element as it is compared: white space between elements does not count."""
    text = "" if len(element) else element.text or ""
    return (
        element.tag.removeprefix(XML),
        tuple(sorted(element.attrib.items())),
        text,
        tuple(tree(child) for child in element),
    )


def revisions(root: ElementTree.Element) -> dict[int, list[Tree]]:
    """By page: its revisions, without what the dumper of Wikimedia writes in another way."""
    found = {}
    for page in root.findall(f"{XML}page"):
        of_page = found.setdefault(int(page.findtext(f"{XML}id") or 0), [])
        for revision in page.findall(f"{XML}revision"):
            text, layout = revision.find(f"{XML}text"), revision.find(f"{XML}format")
            assert text is not None
            assert layout is not None
            if text.get("deleted"):
                layout.text = "not compared"
            if text.get("bytes") == "0":
                text.attrib.pop("sha1", None)
            of_page.append(tree(revision))
    return found


def root_of(file: Path) -> ElementTree.Element:
    return ElementTree.fromstring(bz2.decompress(file.read_bytes()))


@requires_fixtures(FIXTURES)
def test_the_dumps_are_element_for_element_the_real_ones(tmp_path: Path) -> None:
    events = at_least_one(read(CONTENT))
    canary = {**events[0], "meta": {**events[0]["meta"], "domain": "canary", "id": "canary"}}
    shuffled = [*events, *events[:7], canary]
    random.Random(3).shuffle(shuffled)

    ran = dumped(shuffled, ["simplewiki", "commonswiki"], tmp_path)

    assert ran.errors == []
    assert [(row["status"], row["missing"]) for row in ran.outputs] == [("complete", 0)] * 2
    count = {}
    for wiki, name in (("simplewiki", "Simplewiki"), ("commonswiki", "Commonswiki")):
        (file,) = files_of(wiki, tmp_path)
        ours, real = root_of(file), ElementTree.parse(FIXTURES / REAL.format(name)).getroot()
        assert ours.attrib == real.attrib
        pairs = [(one.find(f"{XML}siteinfo"), other.find(f"{XML}siteinfo")) for one, other in [(ours, real)]]
        assert [tree(one) for one, _ in pairs if one is not None] == [tree(one) for _, one in pairs if one is not None]
        made, expected = revisions(ours), revisions(real)
        assert made.keys() == expected.keys()
        for page_id, of_page in expected.items():
            assert made[page_id][: len(of_page)] == of_page
            count[page_id] = len(of_page)
        heads = [[tree(part) for part in page if part.tag != f"{XML}revision"] for page in ours.iter(f"{XML}page")]
        assert heads == [
            [tree(part) for part in page if part.tag != f"{XML}revision"] for page in real.iter(f"{XML}page")
        ]
    assert count == REVISIONS


@pytest.fixture(scope="module")
def real_page(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ran, Path]:
    """A dump of a page with 145 revisions: what the run wrote, and the file."""
    folder = tmp_path_factory.mktemp("dump")
    ran = dumped(read(ADAM), ["enwiki"], folder)
    (file,) = files_of("enwiki", folder)
    return ran, file


@requires_fixtures(FIXTURES)
def test_mwxml_and_headwater_read_back_what_was_written(real_page: tuple[Ran, Path], tmp_path: Path) -> None:
    need_library("mwxml")
    import mwxml

    ran, file = real_page
    revisions = [event["revision"] for event in read(ADAM)]
    texts = {one["rev_id"]: one["content_slots"]["main"]["content_body"] for one in at_least_one(revisions)}
    with bz2.open(file, "rt", encoding="utf-8") as source:
        found = {rev.id: rev.text or "" for page in mwxml.Dump.from_file(source) for rev in page}
    assert found == texts

    assert {row["rev_id"]: row["slots"][0]["text"] for row in history(file, tmp_path)} == texts
    # A revision that protected the page was never announced.
    assert [(row["status"], row["missing"]) for row in ran.outputs if "status" in row] == [("incomplete", 1)]
    assert [(row["rev_id"], row["reason"]) for row in ran.outputs if "reason" in row] == [(688100637, "not_announced")]


@requires_fixtures(FIXTURES)
def test_the_words_of_a_page_are_rebuilt_from_a_dump(real_page: tuple[Ran, Path], tmp_path: Path) -> None:
    need_library("WikiWho")
    source = f"mediawiki.page_content_change.v1={real_page[1]}"
    ran = run_files("revision_tokens", [], tmp_path, "--from", source, "--set", "tokens_max=1")
    assert ran.errors == []
    changes = [row for row in ran.outputs if row["meta"]["stream"] == "mediawiki.page_token_change.v1"]
    assert rebuilt(changes) == at_least_one(read(WORDS))


def test_a_change_that_comes_twice_is_one_revision_and_an_invalid_one_an_error_event(tmp_path: Path) -> None:
    event = change(1, "one", kind="create")
    wrong = [{**change(2, "two"), "dt": "yesterday"}, {**change(3, "three"), "page": {}}]
    ran = run_files("content_revisions", [event, event, *wrong], tmp_path, "--no-dedupe", "--no-validate")
    assert [row["rev_id"] for row in ran.outputs] == [1]
    assert {error["error_type"] for error in ran.errors} == {"INVALID_INPUT"}


def page_events() -> list[Event]:
    """Three pages: of 12 the revisions 1 to 6, of 7 and 100 one each."""
    history = [
        change(number, f"text {number} " * 20, kind="create" if number == 1 else "edit", page_id=12)
        for number in range(1, 7)
    ]
    return [*history, change(7, "seven", kind="create", page_id=7), change(8, "<b> & \r", kind="create", page_id=100)]


def small(events: list[Event], folder: Path, *options: str, wanted: Event | None = None) -> Ran:
    return run_files(
        "content_dumps",
        [wanted or request(WIKI)],
        folder,
        *tables(events, folder),
        *("--set", f"folder={folder / 'dumps'}"),
        *options,
    )


def read_by_index(file: Path) -> Iterator[tuple[str, list[int]]]:
    """By line of the index: the title, and the revisions in the stream that it names."""
    data = file.read_bytes()
    index = bz2.decompress(file.with_name(file.name.replace(".xml.", ".index.txt.")).read_bytes()).decode()
    for line in index.splitlines():
        offset, page_id, title = line.split(":", 2)
        stream = bz2.BZ2Decompressor().decompress(data[int(offset) :])
        pages = ElementTree.fromstring(b"<pages>" + stream + b"</pages>").findall("page")
        (page,) = [page for page in pages if page.findtext("id") == page_id]
        yield title, [int(revision.findtext("id") or 0) for revision in page.findall("revision")]


@pytest.mark.parametrize(
    ("bytes_max", "names"),
    [
        (100_000, ["p7p100"]),
        (2_000, ["p100", "p12r1r4", "p12r5r6", "p7"]),
        (1, ["p100", *(f"p12r{number}r{number}" for number in range(1, 6)), "p12r6r6", "p7"]),
    ],
)
def test_files_are_split_by_size_and_the_index_finds_each_page(
    bytes_max: int, names: list[str], tmp_path: Path
) -> None:
    options = ("--set", f"file_bytes_max={bytes_max}", "--set", "pages_per_stream=2")
    ran = small(page_events(), tmp_path, *options)
    assert ran.errors == []
    files = files_of(WIKI, tmp_path)
    assert [file.name.removeprefix(f"{WIKI}-{DATE}-").removesuffix(".xml.bz2") for file in files] == sorted(names)
    last = ran.outputs[-1]
    assert [last[name] for name in ("status", "files", "revisions", "missing")] == ["complete", len(names), 8, 0]
    found = [revision for file in files for _, of_page in read_by_index(file) for revision in of_page]
    assert sorted(found) == list(range(1, 9))
    assert not list((tmp_path / "dumps").rglob(".unfinished*"))
    texts = {
        revision.findtext(f"{XML}id"): revision.findtext(f"{XML}text")
        for file in files
        for revision in root_of(file).iter(f"{XML}revision")
    }
    assert (texts["7"], texts["8"]) == ("seven", "<b> & \r")


def test_pages_that_are_deleted_and_texts_that_are_hidden_are_not_in_a_dump(tmp_path: Path) -> None:
    deleted, hidden = (
        change(7, "seven", kind="delete", page_id=7),
        change(8, None, parent=0, kind="visibility_change", page_id=100),
    )
    for number, event in enumerate((deleted, hidden)):
        event["dt"] = event["meta"]["dt"] = f"2026-01-31T13:0{number}:00Z"
    hidden["revision"] |= {"is_editor_visible": False, "is_comment_visible": False, "comment": "secret"}
    ran = small([*page_events(), deleted, hidden], tmp_path)
    (file,) = files_of(WIKI, tmp_path)
    root = root_of(file)
    assert [page.findtext(f"{XML}id") for page in root.iter(f"{XML}page")] == ["12", "100"]
    last = tree(next(iter(root.findall(f"{XML}page")[1].iter(f"{XML}revision"))))
    parts = {part[0]: part[1] for part in last[3]}
    assert all(("deleted", "deleted") in parts[name] for name in ("contributor", "comment", "text"))
    assert b"secret" not in bz2.decompress(file.read_bytes())
    assert ran.outputs[-1]["status"] == "complete"


def test_a_revision_without_its_content_is_left_out_and_listed(tmp_path: Path) -> None:
    events = page_events()
    del events[2]["revision"]["content_slots"]["main"]["content_body"]
    ran = small(events, tmp_path)
    missing = [row for row in ran.outputs if "reason" in row]
    assert [(row["page_id"], row["rev_id"], row["reason"]) for row in missing] == [(12, 3, "content_missing")]
    assert (ran.outputs[-1]["status"], ran.outputs[-1]["missing"], ran.outputs[-1]["revisions"]) == ("incomplete", 1, 7)


def test_a_dump_takes_the_place_of_an_earlier_one_of_its_date(tmp_path: Path) -> None:
    small(page_events(), tmp_path, "--set", "file_bytes_max=1")
    small(page_events()[1:], tmp_path)
    assert [file.name for file in (tmp_path / "dumps" / WIKI / DATE).iterdir() if "index" not in file.name] == [
        f"{WIKI}-{DATE}-p7p100.xml.bz2"
    ]


@pytest.mark.parametrize("wrong", [{"wiki_id": "../x"}, {"dump_date": "tomorrow"}, {"wiki_id": ""}])
def test_what_can_be_no_name_of_a_file_is_an_invalid_input(wrong: Event, tmp_path: Path) -> None:
    ran = small(page_events(), tmp_path, "--no-validate", wanted={**request(WIKI), **wrong})
    assert [error["error_type"] for error in ran.errors] == ["INVALID_INPUT"]
    assert not (tmp_path / "dumps").exists()


def test_a_dump_that_was_killed_goes_on_behind_its_last_file(tmp_path: Path) -> None:
    events = [
        change(number, f"{number} " * 40, kind="create", page_id=number, sha1=f"s{number}") for number in range(1, 16)
    ]
    folder, whole = tmp_path / "killed", tmp_path / "whole"
    for each in (folder, whole):
        each.mkdir()
    expected = small(events, whole, "--set", "file_bytes_max=1")
    options = tables(events, folder)
    (folder / "request.jsonl").write_text(json.dumps(request(WIKI)) + "\n")
    command = [
        *(str(Path(sys.executable).with_name("headwater")), "job", "run", "content_dumps", "--project", str(PROJECT)),
        *("--from", str(folder / "request.jsonl"), "--to", str(folder / "out.jsonl")),
        *(*options, "--set", f"folder={folder / 'dumps'}", "--set", "file_bytes_max=1"),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    async def has_written() -> None:
        await eventually(lambda: len(files_of(WIKI, folder)) >= 3 or process.poll() is not None)

    asyncio.run(has_written())
    process.send_signal(signal.SIGKILL)
    process.wait()
    subprocess.run(command, check=True, capture_output=True)

    rows = [json.loads(line) for line in (folder / "out.jsonl").read_text().splitlines()]
    assert [row["meta"]["id"] for row in rows] == [row["meta"]["id"] for row in expected.outputs]
    assert [file.name for file in files_of(WIKI, folder)] == [file.name for file in files_of(WIKI, whole)]
    for one, other in zip(files_of(WIKI, folder), files_of(WIKI, whole), strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_a_running_platform_writes_the_same_dump(tmp_path: Path) -> None:
    events = page_events()
    small(events, tmp_path, "--set", "file_bytes_max=2000")
    (tmp_path / "live").mkdir()
    settings = {"folder": str(tmp_path / "live" / "dumps"), "file_bytes_max": 2000}
    only = ("content_revisions", "content_history", "current_pages", "site_namespaces", "content_dumps")
    with ProjectTest(PROJECT, tmp_path / "live", only=only, jobs={"settings": {"content_dumps": settings}}) as project:
        project.put(*events)
        project.put(*({**event, "meta": {**event["meta"], "stream": "mediawiki.page_change.v1"}} for event in events))
        project.run_jobs()
        project.post(request(WIKI))
        project.run_jobs()
        assert project.errors("content_dumps") == []
        rows = project.events("content_dumps.file.v1")
    assert [row["status"] for row in rows] == ["file"] * (len(rows) - 1) + ["complete"]
    made, expected = files_of(WIKI, tmp_path / "live"), files_of(WIKI, tmp_path)
    assert [(file.name, file.read_bytes()) for file in made] == [(file.name, file.read_bytes()) for file in expected]
