"""The invented wiki's text: its first pages, and edits that somebody could make; nothing in it exists."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

WIKI = "waterwiki"
DOMAIN = "waters.wiki.example"
NOTICE = "This wiki is invented: a program made up its waters, people and books. None of them exists."

_WATERS = {
    "Alder Brook": ("brook", "the Dapple Hills", "Bramble Mere", 14),
    "Bramble Mere": ("lake", "the Fallow Plain", "Cinder Weir", 3),
    "Cinder Weir": ("weir", "the old mill of Harrow", "Ivory Tarn", 1),
    "Ember Falls": ("waterfall", "Gannet Edge", "Alder Brook", 2),
    "Ivory Tarn": ("small lake", "the Kestrel Ridge", "Ember Falls", 1),
    "Juniper Spring": ("spring", "the Dapple Hills", "Alder Brook", 1),
}
_PEOPLE = ("Ada", "Bo", "Chidi", "Dara", "Emre", "Freya", "Goro", "Hana")
_BOOKS = ("Waters of the Dapple Hills", "A Walk along Small Rivers", "The Mills of Harrow", "Where Springs Begin")
_AUTHORS = ("Invented Author", "Nobody Atall", "Made Up")
_SENTENCES = (
    "In spring it carries three times as much water as in summer.",
    "Otters have returned to its lower course.",
    "A stone bridge of nine arches crosses it.",
    "The water is brown from the peat above.",
    "A path follows it for most of its length.",
    "In hard winters it freezes over.",
)
_NEW = ("Dapple Ford", "Fallow Beck", "Gannet Pool", "Harrow Sluice", "Kestrel Rill", "Larch Well", "Moss Gill")
_REFERENCE = re.compile(r"<ref>.*?</ref>", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Edit:
    """What somebody saves: the whole text of a page, who, and why. `is_new`: there was no such page."""

    title: str
    text: str
    user: str
    comment: str
    is_new: bool = False
    # Whether the references of the page change.
    changes_references: bool = False


def first_pages() -> Iterator[Edit]:
    """The pages with which the wiki begins."""
    for title, (kind, place, target, length) in _WATERS.items():
        text = _page(title, kind, place, target, length)
        yield Edit(title, text, "Founder", "Begin the page", is_new=True, changes_references=True)


def _page(title: str, kind: str, place: str, target: str, length: int) -> str:
    article = "an" if kind[0] in "aeiou" else "a"
    return (
        f"'''{title}''' is {article} {kind} at {place}. Its water flows to [[{target}]]."
        f"{_reference(_BOOKS[0], 2019)}\n\n"
        f"== Course ==\nIt is {length} km long. The upper course is steep, the lower one slow.\n\n"
        f"== History ==\nThe name is first found on a map of 1764.\n\n"
        f"== References ==\n{{{{reflist}}}}\n\n[[Category:Invented waters]]\n"
    )


def _reference(book: str, year: int) -> str:
    return f"<ref>{{{{cite book|title={book}|author={_AUTHORS[year % len(_AUTHORS)]}|year={year}}}}}</ref>"


class InventedEdits:
    """An endless series of edits of a wiki that begins with `first_pages`; the same for the same seed.

    Follows the texts of the pages itself, so that it does not ask the wiki.
    """

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._texts = {edit.title: edit.text for edit in first_pages()}
        self._new = list(_NEW)

    @property
    def texts(self) -> Mapping[str, str]:
        """Title → text, as the wiki has it after these edits."""
        return self._texts

    def __iter__(self) -> Iterator[Edit]:
        while True:
            yield self.next()

    def next(self) -> Edit:
        """The next edit, which changes something."""
        edit = self._created() if self._new and self._chance.random() < 0.12 else self._changed()
        self._texts[edit.title] = edit.text
        return edit

    def _created(self) -> Edit:
        title = self._new.pop(0)
        kind, _, _, length = self._chance.choice(list(_WATERS.values()))
        text = _page(title, kind, "an invented place", self._chance.choice(list(_WATERS)), length)
        return Edit(title, text, self._chance.choice(_PEOPLE), "A page about it", is_new=True, changes_references=True)

    def _changed(self) -> Edit:
        title = self._chance.choice(list(self._texts))
        text, comment = edited(self._texts[title], self._chance)
        return Edit(
            title,
            text,
            self._chance.choice(_PEOPLE),
            comment,
            changes_references=sorted(references(text)) != sorted(references(self._texts[title])),
        )


def references(text: str) -> list[str]:
    """The references of a text, counted without the library that the jobs use."""
    return _REFERENCE.findall(text)


def edited(text: str, chance: random.Random) -> tuple[str, str]:
    """The text of a page with one thing changed, and the comment."""
    kind = chance.randrange(5)
    found = _REFERENCE.search(text)
    if kind == 0 and found is not None and len(references(text)) > 1:
        return text[: found.start()] + text[found.end() :], "Remove a source that does not say so"
    if kind == 1:
        length = chance.randrange(2, 90)
        changed = re.sub(r"It is \d+ km long", f"It is {length} km long", text, count=1)
        if changed != text:
            return changed, "Measured again"
    sentence = chance.choice(_SENTENCES)
    if kind == 2 and sentence in text:
        return text.replace(f"{sentence} ", "", 1).replace(sentence, "", 1), "Not so"
    if kind == 3:
        target = chance.choice(list(_WATERS))
        return _added(text, f"It is often confused with [[{target}]]."), "Link"
    source = _reference(chance.choice(_BOOKS), chance.randrange(1950, 2026))
    return _added(text, f"{sentence}{source}"), "Add a fact with its source"


def _added(text: str, sentence: str) -> str:
    """The text with a sentence at the end of the section History, or at its own end."""
    place = text.find("\n\n== References")
    return f"{text.rstrip()} {sentence}\n" if place < 0 else f"{text[:place]} {sentence}{text[place:]}"
