"""Where each word of a page comes from, by WikiWho, revision by revision; run in a process of its own.

How this works: what WikiWho knows of a page is packed into a text, which is given back with the next revision: the
words with the revisions that brought, removed and brought them back, and the paragraphs and sentences, now and earlier,
that are made of them. Earlier paragraphs and sentences are how a word is recognised that comes back. When the text
becomes too long, those that were in the page least recently are forgotten: their words would then count as new.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable
from typing import Any

import msgspec
from WikiWho.structures import Paragraph, Revision, Sentence, Word
from WikiWho.utils import iter_rev_tokens
from WikiWho.wikiwho import Wikiwho


class TooLarge(ValueError):
    """What is known of the page now is longer than may be kept, without anything of earlier."""

    error_type = "PAGE_TOO_LARGE"


def provenance(packed: str | None, revision: dict[str, Any] | None, chars_max: int) -> dict[str, Any]:
    """`packed` anew, and `tokens`: those of the page now. With a `revision`, in the form of WikiWho, what it did.

    That is `spam`: whether it counts as vandalism, which leaves everything as it is; else `added`, `removed` and
    `reintroduced`, lists of tokens. Raises TooLarge.
    """
    page = _unpacked(packed)
    found: dict[str, Any] = {}
    if revision is not None:
        rev_id = int(revision["revid"])
        page.analyse_article([revision])
        spam = rev_id in page.spam_ids
        words = [] if spam else _words(page)
        found = {
            "spam": spam,
            "added": [_token(word) for word in words if word.origin_rev_id == rev_id],
            "removed": [_token(word) for word in words if word.outbound[-1:] == [rev_id]],
            "reintroduced": [_token(word) for word in words if word.inbound[-1:] == [rev_id]],
        }
    tokens = [_token(word) for word in iter_rev_tokens(page.revision_curr)]
    return {**found, "tokens": tokens, **_packed_within(page, chars_max)}


def _token(word: Word) -> dict[str, Any]:
    return {
        "str": word.value,
        "token_id": word.token_id,
        "o_rev_id": word.origin_rev_id,
        "in": word.inbound,
        "out": word.outbound,
    }


def _words(page: Wikiwho) -> list[Word]:
    """All words that are known, in order of their numbers."""
    sentences = [*_all(page.sentences_ht), *(s for p in _all(page.paragraphs_ht) for s in _all(p.sentences))]
    words = {id(word): word for sentence in sentences for word in sentence.words}
    return sorted(words.values(), key=lambda word: word.token_id)


def _all(table: dict[str, list[Any]]) -> Iterable[Any]:
    return (one for several in table.values() for one in several)


def _packed_within(page: Wikiwho, chars_max: int) -> dict[str, Any]:
    """`packed`, and `forgotten`: of how many paragraphs and sentences."""
    packed, forgotten = _packed(page), 0
    while len(packed) > chars_max:
        fewer = _forget(page)
        if fewer == 0:
            raise TooLarge(f"what is known of the page has {len(packed)} characters; {chars_max} may be kept")
        packed, forgotten = _packed(page), forgotten + fewer
    return {"packed": packed, "forgotten": forgotten}


def _forget(page: Wikiwho) -> int:
    """Forget the half of the paragraphs and sentences, of those that are not in the page, that left it first."""
    now = {id(paragraph) for paragraph in _all(page.revision_curr.paragraphs)}
    now |= {id(sentence) for paragraph in _all(page.revision_curr.paragraphs) for sentence in _all(paragraph.sentences)}
    gone = [(_last_used(one), number, table, name, one)
            for table in (page.paragraphs_ht, page.sentences_ht)
            for number, (name, several) in enumerate(table.items())
            for one in several if id(one) not in now]  # fmt: skip
    gone.sort(key=lambda each: each[:2])
    fewer = gone[: (len(gone) + 1) // 2]
    for _, _, table, name, one in fewer:
        table[name] = [other for other in table[name] if other is not one]
        if not table[name]:
            del table[name]
    return len(fewer)


def _last_used(part: Paragraph | Sentence) -> int:
    sentences = [part] if isinstance(part, Sentence) else _all(part.sentences)
    return max((word.last_rev_id for sentence in sentences for word in sentence.words), default=0)


def _packed(page: Wikiwho) -> str:
    words, sentences, paragraphs = _Numbers(), _Numbers(), _Numbers()
    for paragraph in (*_all(page.paragraphs_ht), *_all(page.revision_curr.paragraphs)):
        paragraphs.add(paragraph)
        for sentence in _all(paragraph.sentences):
            sentences.add(sentence)
    for sentence in _all(page.sentences_ht):
        sentences.add(sentence)
    for sentence in sentences.things:
        for word in sentence.words:
            words.add(word)
    columns = [
        page.token_id,
        page.spam_hashes,
        [[getattr(word, name) for word in words.things] for name in _OF_WORD],
        [[bytes.fromhex(each.hash_value), [words.of[id(word)] for word in each.words]] for each in sentences.things],
        [
            [bytes.fromhex(each.hash_value), _hashes(each.ordered_sentences), _numbered(each.sentences, sentences)]
            for each in paragraphs.things
        ],
        _numbered(page.sentences_ht, sentences),
        _numbered(page.paragraphs_ht, paragraphs),
        [
            page.revision_curr.id,
            page.revision_curr.length,
            _hashes(page.revision_curr.ordered_paragraphs),
            _numbered(page.revision_curr.paragraphs, paragraphs),
        ],
    ]
    return base64.b64encode(zlib.compress(msgspec.msgpack.encode(columns), 6)).decode()


_OF_WORD = ("value", "token_id", "origin_rev_id", "last_rev_id", "inbound", "outbound")


class _Numbers:
    """Things in the order in which they came, each once."""

    def __init__(self) -> None:
        self.things: list[Any] = []
        self.of: dict[int, int] = {}

    def add(self, thing: Any) -> None:
        if id(thing) not in self.of:
            self.of[id(thing)] = len(self.things)
            self.things.append(thing)


def _hashes(texts: Iterable[str]) -> list[bytes]:
    return [bytes.fromhex(text) for text in texts]


def _numbered(table: dict[str, list[Any]], numbers: _Numbers) -> list[Any]:
    """A table by hash, in its order: the hash is that of the things."""
    return [[numbers.of[id(one)] for one in several] for several in table.values()]


def _unpacked(packed: str | None) -> Wikiwho:
    page = Wikiwho("")
    if packed is None:
        return page
    columns = msgspec.msgpack.decode(zlib.decompress(base64.b64decode(packed)))
    page.token_id, page.spam_hashes, of_words, of_sentences, of_paragraphs, *tables, now = columns
    words = []
    for values in zip(*of_words, strict=True):
        word = Word()
        for name, value in zip(_OF_WORD, values, strict=True):
            setattr(word, name, value)
        words.append(word)
    sentences = []
    for digest, numbers in of_sentences:
        sentence = Sentence()
        sentence.hash_value, sentence.words = digest.hex(), [words[number] for number in numbers]
        sentences.append(sentence)
    paragraphs = []
    for digest, ordered, numbers in of_paragraphs:
        paragraph = Paragraph()
        paragraph.hash_value, paragraph.ordered_sentences = digest.hex(), [one.hex() for one in ordered]
        paragraph.sentences = _table(numbers, sentences)
        paragraphs.append(paragraph)
    page.sentences_ht, page.paragraphs_ht = _table(tables[0], sentences), _table(tables[1], paragraphs)
    revision = Revision()
    revision.id, revision.length, ordered, numbers = now
    revision.ordered_paragraphs, revision.paragraphs = [one.hex() for one in ordered], _table(numbers, paragraphs)
    page.revision_curr = revision
    return page


def _table(numbers: list[list[int]], things: list[Any]) -> dict[str, list[Any]]:
    return {things[several[0]].hash_value: [things[number] for number in several] for several in numbers}
