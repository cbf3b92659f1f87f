"""Applies all rules to one schema: its current file, the materialized file, and every version."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headwater.errors import HeadwaterError, SchemaInvalid, SchemaNotFound
from headwater.finding import Severity
from headwater.schemas.dialect import dialect_of
from headwater.schemas.limits import ValidationLimits
from headwater.schemas.positions import Positions
from headwater.schemas.repository import LocalRepository
from headwater.schemas.rules import contents, evolution, keywords, names, robustness, structure
from headwater.schemas.rules.catalogue import RULES
from headwater.schemas.rules.policy import Policy
from headwater.schemas.rules.rule import Breach, Breaches, SchemaFinding, Subject, mapping, places
from headwater.schemas.rules.structure import FolderFacts
from headwater.schemas.schema import Schema
from headwater.schemas.workspace.fragment_use import named_by, references
from headwater.schemas.workspace.materialize import Materialized, Materializer
from headwater.schemas.workspace.new_schema import META_FRAGMENT
from headwater.schemas.workspace.working_copy import SchemaFolder, Version, WorkingCopy, version_text

_VIOLATIONS_SHOWN_MAX = 3
_MISSHAPEN_MAX = 50


@dataclass(frozen=True)
class SchemaReport:
    """The findings in one schema; `declared_title` is the title in its current file, `documents` how many were read."""

    title: str
    findings: list[SchemaFinding]
    skipped: list[tuple[str, str]]
    declared_title: str | None
    file: str | None
    documents: int


class SchemaCheck:
    """Checks schemas of one working copy one by one, sharing what was read and materialized. Not thread-safe.

    `building` are the titles whose current files are used for the versions they name.
    """

    def __init__(self, copy: WorkingCopy, policy: Policy, building: Collection[str], *, notes: bool) -> None:
        self.copy = copy
        self._policy = policy
        self._notes = notes
        self._materializer = Materializer(copy, building)
        self._repository = LocalRepository(copy.base, extension=f".{copy.settings.content_types[0]}")
        # Insecure schemas are found by a rule of their own, which a skip list may disable.
        self._limits = ValidationLimits(allow_insecure_schemas=True)
        self._entities: names.Entities | None = None

    def report(self, title: str) -> SchemaReport:
        """All findings about one schema. Raises SchemaNotFound."""
        folder = self.copy.folder(title)
        found = _Gathered(self.copy, self._policy, folder, self._notes)
        current = self._current(folder, found)
        made = self._made(folder, current, found)
        facts = self._facts(folder, current, made, found)
        for file, breach in structure.check(facts):
            found.add(folder.title, file, breach)
        for version, document in facts.documents.items():
            # Faults of the materialized file are fixed in the current file.
            is_made = made is not None and document is made.document and folder.current is not None
            file = folder.current if is_made and folder.current else folder.versions[version]
            uri = identifier if isinstance(identifier := document.get("$id"), str) else folder.uri(version)
            subject = Subject(folder.title, uri, file, document, version_text(version))
            self._version(subject, found, is_latest=version == folder.latest)
        if current is not None and folder.current is not None:
            identifier = str(current.get("$id") or folder.title)
            subject = Subject(folder.title, identifier, folder.current, current)
            found.extend(subject, robustness.of_any(subject))
        self._authored(folder, current, made, facts, found)
        self._evolution(folder, made, facts, found)
        declared = current.get(self.copy.settings.title_field) if current else None
        shown = self.copy.shown(folder.current) if folder.current else None
        count = len(facts.documents) + (current is not None)
        title_text = declared if isinstance(declared, str) else None
        return SchemaReport(folder.title, found.located(), found.skipped, title_text, shown, count)

    def _current(self, folder: SchemaFolder, found: _Gathered) -> Mapping[str, Any] | None:
        if folder.current is None:
            return None
        return self._read(folder.title, folder.current, found)

    def _read(self, uri: str, file: Path, found: _Gathered) -> Mapping[str, Any] | None:
        """The schema in a file; None if it is not one, after every fault has been reported."""
        try:
            source = self.copy.unchecked(file)
        except HeadwaterError as error:
            found.add(uri, file, _breach("schema-readable", error, self.copy.shown(file)))
            return None
        misshapen = list(itertools.islice(source.misshapen(), _MISSHAPEN_MAX))
        for one in misshapen:
            found.add(uri, file, Breach("schema-is-valid", one.pointer, one.message, one.hint))
        return None if misshapen else source.content

    def _made(self, folder: SchemaFolder, current: Mapping[str, Any] | None, found: _Gathered) -> Materialized | None:
        if current is None or folder.current is None:
            return None
        try:
            return self._materializer.folder(folder)
        except (HeadwaterError, RecursionError) as error:
            shown = self.copy.shown(folder.current)
            found.add(folder.title, folder.current, _breach("schema-materializes", error, shown))
            return None

    def _facts(
        self, folder: SchemaFolder, current: Mapping[str, Any] | None, made: Materialized | None, found: _Gathered
    ) -> FolderFacts:
        documents: dict[Version, Mapping[str, Any]] = {}
        others: dict[Version, Mapping[str, Any]] = {}
        for version, files in folder.files.items():
            first = folder.versions[version]
            for kind, file in files.items():
                uri = folder.uri(version)
                same = made is not None and made.version == version and _holds(file, made.texts.get(kind))
                document = made.document if made and same else self._read(uri, file, found)
                if document is None:
                    continue
                if file == first:
                    documents[version] = document
                else:
                    others.setdefault(version, {})[kind] = document  # type: ignore[index]
        return FolderFacts(folder, self.copy.settings, current, made, documents, others)

    def _version(self, subject: Subject, found: _Gathered, *, is_latest: bool) -> None:
        before = len(found.pending)
        as_original = self._policy.as_original
        found.extend(
            subject,
            robustness.of_version(subject, self.copy.settings.numeric_bounds, as_original=as_original),
        )
        found.extend(subject, robustness.of_any(subject))
        found.extend(subject, robustness.example_schemas(subject.document))
        if as_original:
            found.extend(subject, robustness.examples_are_judged(subject.document))
        is_valid = all(one.breach.rule != "schema-is-valid" for one in found.pending[before:])
        if is_valid and (subject.document.get("examples") or is_latest):
            found.extend(subject, self._compiled(subject))

    def _compiled(self, subject: Subject) -> Breaches:
        """Whether the platform can validate events with it, and its examples are valid."""
        from headwater.schemas.graph import SchemaGraph
        from headwater.schemas.validation.validator import CompiledSchema

        try:
            dialect = dialect_of(subject.document, subject.uri)
            schema = Schema(f"/{subject.title}/{subject.version}", subject.document, None, dialect)
            compiled = CompiledSchema(SchemaGraph(schema, self._repository, self._limits), self._limits)
        except (HeadwaterError, RecursionError) as error:
            yield _breach("schema-compiles", error, "")
            return
        examples = subject.document.get("examples")
        for index, example in enumerate(examples if isinstance(examples, list) else ()):
            for violation in compiled.violations(example)[:_VIOLATIONS_SHOWN_MAX]:
                message = f"The example is not valid: {violation.pointer or 'it'} {violation.message}."
                pointer = f"/examples/{index}{violation.pointer}"
                yield Breach("schema-examples-are-valid", pointer, message, "Correct the example, or the schema.")

    def _authored(
        self,
        folder: SchemaFolder,
        current: Mapping[str, Any] | None,
        made: Materialized | None,
        facts: FolderFacts,
        found: _Gathered,
    ) -> None:
        """The rules of our own: about the author's file, and about the materialized schema."""
        document = current if current is not None else facts.documents.get(folder.latest or (0, 0, 0))
        file = folder.current or (folder.versions[folder.latest] if folder.latest else None)
        if document is None or file is None:
            return
        whole = made.document if made else document
        written, inside = places(document), places(whole)
        subject = Subject(folder.title, str(whole.get("$id") or folder.title), file, document)
        found.extend(subject, keywords.check(written))
        found.extend(subject, names.check(written))
        found.extend(subject, contents.types(written))
        found.extend(subject, contents.of_current(document, folder.title))
        found.extend(subject, names.title_without_version(folder.title))
        found.extend(subject, names.collisions(inside))
        if not contents.is_fragment(folder.title):
            found.extend(subject, contents.of_event(whole, self._fragments))
            is_new = len(folder.files) < 2
            found.extend(subject, names.flat_copies(written, self._known_entities(), is_new=is_new))
        found.extend(subject, contents.meta_not_deprecated(written))
        if self._notes:
            found.extend(subject, self._fragments_behind(folder, document))

    def _fragments_behind(self, folder: SchemaFolder, document: Mapping[str, Any]) -> Breaches:
        for pointer, reference in references(document):
            used, version = named_by(reference)
            if not used or version is None or used == folder.title:
                continue
            try:
                latest = self.copy.folder(used).latest
            except SchemaNotFound:
                continue
            if latest is not None and version < latest:
                message = f"{reference} is out of date: {used} has {version_text(latest)}."
                hint = f"Run `headwater schema upgrade-fragment {used}`."
                yield Breach("fragment-behind", pointer, message, hint)

    def _fragments(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """(URI, document) of the latest version of each fragment that can be read, `fragment/common` first."""
        folders = [folder for folder in self.copy.schemas.values() if contents.is_fragment(folder.title)]
        for folder in sorted(folders, key=lambda folder: (folder.title != META_FRAGMENT, folder.title)):
            if folder.latest is not None:
                with contextlib.suppress(HeadwaterError, RecursionError):
                    yield folder.uri(folder.latest), self.copy.source(folder.versions[folder.latest]).content

    def _known_entities(self) -> names.Entities:
        """The fragments that declare an entity: directories below `fragment/…/entity/`."""
        if self._entities is None:
            entities = {}
            for file in sorted(self.copy.base.glob(f"fragment/**/entity/*/{self.copy.settings.current_file}")):
                folder = self.copy.folder(file.parent.relative_to(self.copy.base).as_posix())
                try:
                    document = self._materializer.folder(folder).document
                except (HeadwaterError, RecursionError):
                    continue
                fields = frozenset(mapping(document.get("properties"))) - {"$schema", "meta", "dt"}
                entities[file.parent.name] = (folder.title, fields)
            self._entities = entities
        return self._entities

    def _evolution(self, folder: SchemaFolder, made: Materialized | None, facts: FolderFacts, found: _Gathered) -> None:
        kind = self.copy.settings.content_types[0]
        documents = {version: one for version, one in facts.documents.items() if kind in folder.files[version]}
        if made is not None and made.version not in documents:
            documents[made.version] = made.document
        found_in = (
            *evolution.compatibility(documents, self._policy.mode),
            *evolution.meta_fields(documents),
        )
        for version, breach in found_in:
            identifier = documents[version].get("$id")
            uri = identifier if isinstance(identifier, str) else folder.uri(version)
            in_current = made is not None and made.version == version and folder.current is not None
            file = folder.current if in_current else folder.versions.get(version)
            if file is not None:
                subject = Subject(folder.title, uri, file, documents[version], version_text(version))
                found.extend(subject, [breach])


@dataclass(frozen=True, slots=True)
class _Pending:
    uri: str
    file: Path
    breach: Breach
    severity: Severity


class _Gathered:
    """The breaches of one schema that are neither disabled nor on a skip list, until they are located."""

    def __init__(self, copy: WorkingCopy, policy: Policy, folder: SchemaFolder, notes: bool) -> None:
        self._copy = copy
        self._policy = policy
        self._folder = folder
        self._notes = notes
        self._skips: dict[str, frozenset[str]] = {}
        self.pending: list[_Pending] = []
        self.skipped: list[tuple[str, str]] = []

    def add(self, uri: str, file: Path, breach: Breach) -> None:
        severity = self._policy.severity(breach.rule, breach.severity)
        if severity is None or (severity is Severity.NOTE and not self._notes):
            return
        if uri not in self._skips:
            self._skips[uri] = self._copy.settings.skipped_cases(uri)
        if breach.rule in self._skips[uri]:
            if (breach.rule, uri) not in self.skipped:
                self.skipped.append((breach.rule, uri))
            return
        self.pending.append(_Pending(uri, file, breach, severity))

    def extend(self, subject: Subject, breaches: Iterable[Breach]) -> None:
        for breach in breaches:
            self.add(subject.uri, subject.file, breach)

    def located(self) -> list[SchemaFinding]:
        """The findings, each with the place in its file.

        A rule that is applied to the current file and to the materialized one reports a place only once.
        """
        by_file: dict[Path, Positions] = {}
        once: dict[tuple[str, str, str | None, int | None, int | None], SchemaFinding] = {}
        for one in self.pending:
            finding = self._located(one, by_file)
            key = (finding.rule.id, finding.message, finding.file, finding.line, finding.column)
            once.setdefault(key, finding)
        return list(once.values())

    def _located(self, one: _Pending, by_file: dict[Path, Positions]) -> SchemaFinding:
        breach = one.breach
        place: tuple[int, int | None] | None = None
        if breach.at is not None:
            place = breach.at
        elif one.file.is_file():
            if one.file not in by_file:
                by_file[one.file] = Positions.of_file(one.file, self._copy.limits)
            place = by_file[one.file].of(breach.pointer)
        line, column = place or (None, None)
        return SchemaFinding(
            RULES[breach.rule],
            one.severity,
            self._folder.title,
            breach.message,
            breach.hint,
            self._copy.shown(one.file),
            line,
            column,
            uri=one.uri,
            pointer=breach.pointer,
            witness=breach.witness,
        )


def _breach(rule: str, error: Exception, shown: str) -> Breach:
    """The breach for an error about the file `shown`; an error about another file keeps its location in the message."""
    if not isinstance(error, HeadwaterError):
        return Breach(rule, "", "It is nested too deeply.")
    if isinstance(error, SchemaInvalid) and error.file == shown and error.line is not None:
        return Breach(rule, "", error.detail, error.hint, at=(error.line, error.column))
    return Breach(rule, "", error.message, error.hint)


def _holds(file: Path, text: str | None) -> bool:
    if text is None:
        return False
    data = text.encode()
    try:
        return file.stat().st_size == len(data) and file.read_bytes() == data
    except OSError:
        return False
