"""Writes the findings of a check in SARIF 2.1.0, which code hosts show next to the lines of a change."""

from __future__ import annotations

import hashlib
from typing import Any

from headwater import __version__
from headwater.finding import Rule
from headwater.schemas.rules.checking import CheckResult
from headwater.schemas.rules.rule import SchemaFinding

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def sarif(result: CheckResult) -> dict[str, Any]:
    """One run. Waived findings are included, suppressed with their reason."""
    rules = {finding.rule.id: finding.rule for finding in result.findings}
    places = {rule: index for index, rule in enumerate(rules)}
    driver = {
        "name": "headwater",
        "semanticVersion": __version__,
        "rules": [_rule(rule) for rule in rules.values()],
    }
    return {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": driver},
                "columnKind": "unicodeCodePoints",
                "results": [_result(finding, places[finding.rule.id]) for finding in result.findings],
            }
        ],
    }


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "shortDescription": {"text": rule.meaning},
        "defaultConfiguration": {"level": rule.severity.value},
    }


def _result(finding: SchemaFinding, index: int) -> dict[str, Any]:
    text = f"{finding.message} {finding.hint}" if finding.hint else finding.message
    # The same finding keeps its fingerprint when lines move.
    identity = "\0".join((finding.rule.id, finding.uri, finding.pointer, finding.message))
    result: dict[str, Any] = {
        "ruleId": finding.rule.id,
        "ruleIndex": index,
        "level": finding.severity.value,
        "message": {"text": text},
        "partialFingerprints": {"headwater/v1": hashlib.sha256(identity.encode()).hexdigest()[:32]},
    }
    if finding.file:
        place: dict[str, Any] = {"artifactLocation": {"uri": finding.file}}
        if finding.line:
            place["region"] = {"startLine": finding.line, "startColumn": finding.column or 1}
        logical = [{"fullyQualifiedName": finding.uri + finding.pointer}]
        result["locations"] = [{"physicalLocation": place, "logicalLocations": logical}]
    if finding.waived:
        result["suppressions"] = [{"kind": "external", "justification": finding.waived}]
    return result
