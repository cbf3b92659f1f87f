"""Records the current findings of a repository in a file, so that a check fails only on new ones.

How this works: a finding is recognised by its rule, its schema, its place and its message, in which versions are
ignored: what was wrong in 1.0.0 is not new in 1.1.0. If the rule is about a version itself (its compatibility, that it
is unchanged), the version counts. Lines are ignored, so that editing another part of a file changes nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from headwater.errors import ConfigInvalid
from headwater.finding import Severity
from headwater.schemas.rules.checking import CheckResult
from headwater.schemas.rules.rule import SchemaFinding

FORMAT = "headwater-baseline-1"
_ABOUT_A_VERSION = frozenset(("schema-version-compatibility", "version-immutable", "version-was-changed"))
_VERSION = re.compile(r"\b[0-9]+\.[0-9]+\.[0-9]+\b")

# rule, schema or version, pointer, sentence
Key = tuple[str, str, str, str]


@dataclass(frozen=True)
class Baseline:
    """The findings when the file was written, and how often each occurred."""

    counts: Counter[Key]

    @classmethod
    def of(cls, result: CheckResult) -> Baseline:
        """The errors and warnings of a check that are not waived."""
        return cls(Counter(_key(one) for one in _counting(result.findings)))

    @classmethod
    def read(cls, file: Path) -> Baseline:
        """Raises ConfigInvalid for a file that is not a baseline."""
        try:
            value = orjson.loads(file.read_bytes())
            if value["format"] != FORMAT:
                raise ValueError(f"its format is {value['format']!r}")
            entries = [(_key_of(entry), int(entry.get("count", 1))) for entry in value["findings"]]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            reason = f"{error}" if isinstance(error, (OSError, ValueError)) else f"{type(error).__name__}: {error}"
            raise ConfigInvalid(
                f"The baseline cannot be read: {reason}.",
                file=str(file),
                hint="Restore it, or write it again with --update-baseline.",
            ) from None
        return cls(Counter(dict(entries)))

    def write(self, file: Path) -> None:
        """One finding per line, sorted, so that changes of the file are easy to review. Raises ConfigInvalid."""
        lines = [orjson.dumps(_entry(key, count)) for key, count in sorted(self.counts.items())]
        text = b'{"format": "%s", "findings": [\n%s\n]}\n' % (FORMAT.encode(), b",\n".join(lines))
        fresh = file.with_name(f"{file.name}.new")
        try:
            fresh.write_bytes(text)
            fresh.replace(file)
        except OSError as error:
            raise ConfigInvalid(f"The baseline cannot be written: {error.strerror}.", file=str(file)) from None

    def applied(self, result: CheckResult, name: str) -> CheckResult:
        """The result in which recorded findings are waived."""
        left = self.counts.copy()
        findings = []
        for finding in result.findings:
            key = _key(finding)
            is_known = finding.waived is None and left[key] > 0
            left[key] -= is_known
            findings.append(replace(finding, waived=f"recorded in {name}") if is_known else finding)
        return replace(result, findings=findings)

    def gone(self, result: CheckResult) -> int:
        """How many recorded findings a check of the whole repository no longer has."""
        return (self.counts - Baseline.of(result).counts).total()


def _counting(findings: Iterable[SchemaFinding]) -> Sequence[SchemaFinding]:
    return [one for one in findings if one.waived is None and one.severity is not Severity.NOTE]


def _key(finding: SchemaFinding) -> Key:
    about = finding.uri if finding.rule.id in _ABOUT_A_VERSION else finding.subject
    return finding.rule.id, about, finding.pointer, _VERSION.sub("*", finding.message)


def _entry(key: Key, count: int) -> dict[str, Any]:
    rule, about, pointer, message = key
    entry: dict[str, Any] = {"rule": rule, "schema": about, "pointer": pointer, "message": message}
    return entry if count == 1 else {**entry, "count": count}


def _key_of(entry: Any) -> Key:
    key = (entry["rule"], entry["schema"], entry["pointer"], entry["message"])
    if not all(isinstance(text, str) for text in key):
        raise TypeError("an entry has a value that is not text")
    return key
