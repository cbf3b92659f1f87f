"""Writes the result of a check of a schema repository as lines for people, which terminals turn into links."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from headwater.finding import Severity
from headwater.schemas.rules.checking import CheckResult
from headwater.schemas.rules.rule import SchemaFinding

WITNESS_CHARACTERS_MAX = 300


def text_lines(result: CheckResult) -> Iterator[str]:
    """One line for each finding that is not waived, and one with its hint."""
    for finding in result.findings:
        if finding.waived is None:
            yield finding_line(finding)
            if finding.hint:
                yield f"  → {finding.hint}"
            if finding.witness is not None:
                yield f"  example: {witness_text(finding.witness)}"


def finding_line(finding: SchemaFinding) -> str:
    """`file:line:column: severity: message [rule]`, which editors and terminals turn into a link."""
    place = f"{finding.place}: " if finding.place else ""
    return f"{place}{finding.severity}: {finding.message} [{finding.rule.id}]"


def witness_text(witness: Any) -> str:
    """An instance on one line, shortened if it is long."""
    text = json.dumps(witness, ensure_ascii=False)
    return text if len(text) <= WITNESS_CHARACTERS_MAX else text[: WITNESS_CHARACTERS_MAX - 1] + "…"


def summary(result: CheckResult) -> str:
    """One line: the verdict, and further counts."""
    errors = len(result.of(Severity.ERROR))
    looked_at = f"{_counted(len(result.titles), 'schema')}, {_counted(result.documents, 'file')}"
    verdict = f"{_counted(errors, 'error')} in {looked_at}" if errors else f"No errors in {looked_at}"
    counts = Counter(finding.severity for finding in result.findings if finding.waived is None)
    others = [_counted(counts[one], one.value) for one in (Severity.WARNING, Severity.NOTE) if counts[one]]
    waived = sum(finding.waived is not None for finding in result.findings)
    others += [f"{waived} waived"] if waived else []
    others += [f"{len(result.skipped)} exempted by skip lists"] if result.skipped else []
    return ". ".join((verdict, *others)) + "."


def _counted(count: int, name: str) -> str:
    return f"{count:,} {name}{'' if count == 1 else 's'}"
