"""Writes the result of a check of a schema repository in the requested format."""

from __future__ import annotations

import json
from typing import Any

from headwater.finding import Severity
from headwater.schemas.reports.text import summary, text_lines
from headwater.schemas.rules.checking import CheckResult

FORMATS = ("text", "json", "sarif", "junit")


def rendered(result: CheckResult, format_name: str) -> str:
    """The whole report in one of FORMATS, without the last line break."""
    if format_name == "sarif":
        from headwater.schemas.reports.sarif import sarif

        return json.dumps(sarif(result), indent=1, ensure_ascii=False)
    if format_name == "junit":
        from headwater.schemas.reports.junit import junit

        return junit(result)
    if format_name == "json":
        return json.dumps(as_json(result), ensure_ascii=False, default=str)
    return "\n".join((*text_lines(result), summary(result)))


def as_json(result: CheckResult) -> dict[str, Any]:
    """One object: counts, findings, and rules that skip lists exempt."""
    return {
        "passed": not result.of(Severity.ERROR),
        "mode": result.mode,
        "schemas": len(result.titles),
        "documents": result.documents,
        "errors": len(result.of(Severity.ERROR)),
        "warnings": len(result.of(Severity.WARNING)),
        "findings": [finding.as_json() for finding in result.findings],
        "skipped": [{"rule": rule, "uri": uri} for rule, uri in result.skipped],
    }
