"""The RDF of an entity: what the query service keeps of it, how two revisions differ, and Turtle in parts.

How this works: triples are sets. Blank nodes become IRIs of their own names, so that two revisions can be compared.
What other entities may have too (references, values, wikis and the descriptions of linked pages) is told apart from the
rest: who applies a difference cannot know by it alone whether such a triple is still needed. Each part can be read
without the others. This file is run in a process of its own, by `Bounded`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import rdflib
from rdflib.namespace import OWL, PROV, RDF, RDFS, SKOS
from rdflib.plugins.parsers.notation3 import RDFSink, SinkParser

Term = rdflib.term.Identifier
Triple = tuple[Term, Term, Term]
Triples = frozenset[Triple]

SCHEMA = "http://schema.org/"
WIKIBASE = "http://wikiba.se/ontology#"
ONTOLEX = "http://www.w3.org/ns/lemon/ontolex#"
ABOUT, ARTICLE, NAME = (rdflib.URIRef(SCHEMA + name) for name in ("about", "Article", "name"))
VERSION, MODIFIED = (rdflib.URIRef(SCHEMA + name) for name in ("version", "dateModified"))
WIKI_GROUP, NORMALIZED = (rdflib.URIRef(WIKIBASE + name) for name in ("wikiGroup", "quantityNormalized"))
PARTS_OF_ENTITY = frozenset(rdflib.URIRef(ONTOLEX + name) for name in ("lexicalForm", "sense"))
# So common that nobody asks for them.
TYPES_LEFT_OUT = frozenset(
    rdflib.URIRef(space + name)
    for space, names in (
        (WIKIBASE, ("Item", "Statement", "Reference", "Value")),
        (ONTOLEX, ("LexicalEntry", "Form", "LexicalSense")),
    )
    for name in names
)
LITERAL_CHARS_MAX = 32_767
# A prefix is written where the rest of the IRI needs no escapes.
_LOCAL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")
_END = " .\n"
_IN_IRI = re.compile(r'[\x00-\x20<>"{}|^`\\]')
_IN_TEXT = re.compile(r'[\x00-\x1f"\\\x7f]')
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t", '"': '\\"', "\\": "\\\\"}
PREFIXES = {
    "rdf": str(RDF),
    "rdfs": str(RDFS),
    "xsd": "http://www.w3.org/2001/XMLSchema#",
    "owl": str(OWL),
    "skos": str(SKOS),
    "prov": str(PROV),
    "schema": SCHEMA,
    "wikibase": WIKIBASE,
    "ontolex": ONTOLEX,
    "geo": "http://www.opengis.net/ont/geosparql#",
}
# By what the entities of a wiki begin with, up to `entity/`.
OF_WIKI = {
    "wd": "entity/",
    "s": "entity/statement/",
    "ref": "reference/",
    "v": "value/",
    "wdt": "prop/direct/",
    "wdtn": "prop/direct-normalized/",
    "p": "prop/",
    "ps": "prop/statement/",
    "psv": "prop/statement/value/",
    "psn": "prop/statement/value-normalized/",
    "pq": "prop/qualifier/",
    "pqv": "prop/qualifier/value/",
    "pqn": "prop/qualifier/value-normalized/",
    "pr": "prop/reference/",
    "prv": "prop/reference/value/",
    "prn": "prop/reference/value-normalized/",
    "wdno": "prop/novalue/",
}


class NotRdf(ValueError):
    """The text is no Turtle, or is not about the entity."""

    error_type = "UNKNOWN"


class OtherRevision(ValueError):
    """The text is about another revision than the one that was asked for."""

    error_type = "UNEXPECTED_RESPONSE"


@dataclass(frozen=True)
class Entity:
    """What the query service keeps of a revision. `root`: what the IRIs of its wiki begin with, up to `entity/`."""

    root: str
    triples: Triples

    def is_shared(self, triple: Triple, articles: frozenset[Term]) -> bool:
        """Whether other entities may have this triple too; `articles` are the pages that are linked."""
        subject, predicate, _ = triple
        # `startswith` of terms takes no tuple.
        if predicate == WIKI_GROUP or str(subject).startswith((f"{self.root}reference/", f"{self.root}value/")):
            return True
        return subject in articles and predicate != ABOUT


@dataclass(frozen=True)
class Patch:
    """What is to be added and deleted, and the same of what other entities may have too."""

    added: Triples = frozenset()
    deleted: Triples = frozenset()
    linked: Triples = frozenset()
    unlinked: Triples = frozenset()


class _Written(NamedTuple):
    """A term in Turtle, and the prefix that it needs; "": none."""

    text: str
    prefix: str


class _Parser(SinkParser):  # type: ignore[misc, unused-ignore]
    """Blank nodes with a name are IRIs: their names are made of what they stand for, the same in each revision."""

    genid = ""

    def anonymousNode(self, ln: str) -> Any:  # noqa: N802 - the name that the library calls
        return rdflib.URIRef(self.genid + ln)


def parsed(turtle: str, genid: str) -> Triples:
    """The triples of a text; `genid` begins the IRIs of blank nodes. Raises NotRdf."""
    # Times such as 1952-00-00 are no times for Python, and numbers are kept as written.
    rdflib.NORMALIZE_LITERALS = False
    logging.getLogger("rdflib.term").setLevel(logging.ERROR)
    graph = rdflib.Graph()
    parser = _Parser(RDFSink(graph), baseURI="", turtle=True)
    parser.genid = genid
    try:
        parser.startDoc()
        parser.feed(turtle.encode("utf-8", "surrogatepass"))
        parser.endDoc()
    # What the library raises for a broken text is of many kinds.
    except Exception as error:
        raise NotRdf(f"The text is no Turtle: {' '.join(str(error).split())[:300]}") from None
    triples: Any = frozenset(graph)
    return triples


def munged(turtle: str, entity_id: str, rev_id: int | None = None) -> Entity:
    """The part of an entity's RDF that the query service keeps. Raises NotRdf, OtherRevision.

    The number and time of the revision are moved to the entity. Not kept are what the text says of itself and of other
    entities, labels that repeat `rdfs:label`, types that nearly everything has, and what the entity does not lead to.
    """
    triples = parsed(turtle, "genid:")
    about = next(((s, o) for s, p, o in triples if p == ABOUT and o.endswith(f"/{entity_id}") and _is_data(s)), None)
    if about is None:
        raise NotRdf(f"The text is not about {entity_id}.")
    data, entity = about
    root = entity.removesuffix(entity_id).removesuffix("entity/")
    of_data = {(p, o) for s, p, o in triples if s == data and (p in (VERSION, MODIFIED) or p.startswith(WIKIBASE))}
    moved = {(entity, p, o) for p, o in of_data}
    versions = [str(o) for _, p, o in moved if p == VERSION]
    if not versions or not any(p == MODIFIED for _, p, _ in moved):
        raise NotRdf(f"The text about {entity_id} has no revision or no time of it.")
    if rev_id is not None and versions != [str(rev_id)]:
        raise OtherRevision(f"The text is about revision {versions[0]} of {entity_id}, not {rev_id}.")
    by_subject: dict[Term, list[Triple]] = {}
    for triple in triples:
        by_subject.setdefault(triple[0], []).append(triple)
    kept = {_cut(t) for t in _reached(entity, root, by_subject) if not _is_left_out(t, entity, root)}
    skolem = {_skolemized(t, f"{root}.well-known/genid/") for t in kept | moved}
    return Entity(root, frozenset(skolem))


def _is_data(subject: Term) -> bool:
    return "Special:EntityData/" in subject


def _reached(entity: Term, root: str, by_subject: Mapping[Term, list[Triple]]) -> Iterator[Triple]:
    """The triples about the entity, and about what it leads to; those about pages that lead to it."""
    places = (f"{root}entity/statement/", f"{root}reference/", f"{root}value/", "genid:")
    seen, left = {entity}, [entity]
    for subject, about in by_subject.items():
        is_of_property = subject.startswith("http") and "/prop/" in subject
        if is_of_property or any(p == WIKI_GROUP or (p == RDF.type and o == ARTICLE) for _, p, o in about):
            yield from (t for t in about if not is_of_property or "/prop/novalue/" in subject or t[1] == RDF.type)
            left += [o for _, _, o in about if o.startswith("genid:") and o not in seen]
            seen.update(left)
    while left:
        for triple in by_subject.get(left.pop(), ()):
            yield triple
            _, predicate, found = triple
            leads = isinstance(found, rdflib.URIRef) and (str(found).startswith(places) or predicate in PARTS_OF_ENTITY)
            if leads and found not in seen:
                seen.add(found)
                left.append(found)


def _is_left_out(triple: Triple, entity: Term, root: str) -> bool:
    subject, predicate, value = triple
    if predicate == RDF.type:
        return value in TYPES_LEFT_OUT
    is_entity = subject.startswith(f"{root}entity/") and not subject.startswith(f"{root}entity/statement/")
    if predicate == RDFS.label:
        return is_entity and (subject != entity or subject.startswith(f"{root}entity/L"))
    return is_entity and predicate in (NAME, SKOS.prefLabel)


def _cut(triple: Triple) -> Triple:
    subject, predicate, value = triple
    if isinstance(value, rdflib.Literal) and len(value) > LITERAL_CHARS_MAX:
        return subject, predicate, rdflib.Literal(value[:LITERAL_CHARS_MAX], value.language, value.datatype)
    return triple


def _skolemized(triple: Triple, genid: str) -> Triple:
    subject, predicate, value = (
        rdflib.URIRef(genid + term[6:]) if isinstance(term, rdflib.URIRef) and term.startswith("genid:") else term
        for term in triple
    )
    return subject, predicate, value


def difference(before: Entity | None, after: Entity) -> Patch:
    """What makes the one of the other; None: of nothing."""
    old = before.triples if before is not None else frozenset()
    articles = frozenset(s for s, p, o in old | after.triples if p == RDF.type and o == ARTICLE)

    def parted(triples: Triples) -> tuple[Triples, Triples]:
        shared = frozenset(triple for triple in triples if after.is_shared(triple, articles))
        return triples - shared, shared

    (added, linked), (deleted, unlinked) = parted(after.triples - old), parted(old - after.triples)
    return Patch(added, deleted, linked, unlinked)


def parts(patch: Patch, root: str, chars_max: int) -> list[dict[str, str]]:
    """The patch as Turtle by the name of its set, in as few parts as needed for each to have `chars_max` at most.

    A triple that is longer than that is in a part of its own. There is always one part.
    """
    prefixes = {**PREFIXES, **{name: root + path for name, path in OF_WIKI.items()}}
    made: list[dict[str, _Text]] = [{}]
    for name in ("added", "deleted", "linked", "unlinked"):
        for triple in sorted(getattr(patch, name), key=lambda terms: [term.n3() for term in terms]):
            written = [_written(term, prefixes) for term in triple]
            part = made[-1]
            text = part.get(name) or _Text(prefixes)
            if part and sum(one.chars for one in part.values()) + text.grows_by(written) > chars_max:
                text, part = _Text(prefixes), {}
                made.append(part)
            part[name] = text
            text.append(written)
    return [{name: text.turtle() for name, text in part.items()} for part in made]


class _Text:
    """Turtle that grows by one triple at a time; those of a subject are written together. `chars`: its length."""

    def __init__(self, prefixes: Mapping[str, str]) -> None:
        self._prefixes = prefixes
        self._used: dict[str, str] = {}
        self._lines: list[str] = []
        self._subject = ""
        self.chars = 0

    def grows_by(self, triple: list[_Written]) -> int:
        """How many characters a triple adds."""
        end = 0 if self._lines else len(_END)
        return sum(map(len, self._declared(triple).values())) + len(self._line(triple)) + end

    def append(self, triple: list[_Written]) -> None:
        self.chars += self.grows_by(triple)
        self._used |= self._declared(triple)
        self._lines.append(self._line(triple))
        self._subject = triple[0].text

    def turtle(self) -> str:
        return "".join([*self._used.values(), *self._lines, _END])

    def _line(self, triple: list[_Written]) -> str:
        subject, predicate, value = (term.text for term in triple)
        if subject == self._subject:
            return f" ;\n\t{predicate} {value}"
        return f"{_END if self._lines else ''}{subject} {predicate} {value}"

    def _declared(self, triple: list[_Written]) -> dict[str, str]:
        """The declarations of prefixes that are not there yet."""
        new = {term.prefix for term in triple} - self._used.keys() - {""}
        return {name: f"@prefix {name}: <{self._prefixes[name]}> .\n" for name in sorted(new)}


def _written(term: Term, prefixes: Mapping[str, str]) -> _Written:
    """A term in Turtle."""
    if isinstance(term, rdflib.Literal):
        text = f'"{_IN_TEXT.sub(_escaped, str(term))}"'
        if term.language:
            return _Written(f"{text}@{term.language}", "")
        if term.datatype is None:
            return _Written(text, "")
        kind = _written(term.datatype, prefixes)
        return _Written(f"{text}^^{kind.text}", kind.prefix)
    at = max(term.rfind("/"), term.rfind("#")) + 1
    if _LOCAL.fullmatch(term, at):
        for name, iri in prefixes.items():
            if len(iri) == at and term.startswith(iri):
                return _Written(f"{name}:{term[at:]}", name)
    return _Written(f"<{_IN_IRI.sub(_escaped, term)}>", "")


def _escaped(found: re.Match[str]) -> str:
    return _SHORT.get(found.group()) or f"\\u{ord(found.group()):04X}"


def mutation(
    *,
    operation: str,
    entity_id: str,
    rev_id: int,
    after: str,
    from_rev_id: int | None = None,
    before: str | None = None,
    chars_max: int,
) -> list[dict[str, str]]:
    """The parts of what leads from one Turtle to another; of a reconciliation all is `added`. Raises NotRdf,
    OtherRevision.
    """
    new = munged(after, entity_id, rev_id)
    if operation == "reconcile":
        return parts(Patch(added=new.triples), new.root, chars_max)
    old = None if before is None else munged(before, entity_id, from_rev_id)
    return parts(difference(old, new), new.root, chars_max)
