"""The invented edits: the same for a seed, each changes something, and they know what they change."""

from __future__ import annotations

from itertools import islice

from headwater.cli.demo.wikimedia.texts import InventedEdits, first_pages, references


def test_the_edits_of_a_seed_are_always_the_same_and_each_changes_the_page_it_names() -> None:
    texts = {edit.title: edit.text for edit in first_pages()}
    edits = list(islice(InventedEdits(3), 200))
    assert edits == list(islice(InventedEdits(3), 200))
    for edit in edits:
        assert edit.is_new is (edit.title not in texts)
        before = texts.get(edit.title, "")
        assert edit.text.rstrip() != before.rstrip()
        assert edit.changes_references is (sorted(references(edit.text)) != sorted(references(before)))
        texts[edit.title] = edit.text
    assert any(not edit.changes_references for edit in edits)
    assert any(edit.is_new for edit in edits)


def test_the_wiki_begins_with_pages_that_have_sources() -> None:
    pages = list(first_pages())
    assert len({page.title for page in pages}) == len(pages) > 3
    assert all(page.is_new and references(page.text) for page in pages)
