"""Writes the findings of a check as JUnit XML for build servers: a suite for each schema, a case for each rule."""

from __future__ import annotations

import re
from collections.abc import Iterable
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from headwater.finding import Severity
from headwater.schemas.reports.text import finding_line, witness_text
from headwater.schemas.rules.catalogue import RULES
from headwater.schemas.rules.checking import CheckResult
from headwater.schemas.rules.rule import SchemaFinding

_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(result: CheckResult) -> str:
    """The document. Errors fail a case; warnings and notes are its output; waived and exempted ones are skipped."""
    root = Element("testsuites", name="headwater schema check")
    by_schema: dict[str, list[SchemaFinding]] = {title: [] for title in result.titles}
    for finding in result.findings:
        by_schema.setdefault(finding.subject or "repository", []).append(finding)
    exempted: dict[str, list[str]] = {}
    for rule, uri in result.skipped:
        exempted.setdefault(uri.strip("/").rpartition("/")[0], []).append(rule)
    for title, findings in by_schema.items():
        _suite(root, title, findings, exempted.get(title, ()))
    for name in ("tests", "failures", "skipped"):
        root.set(name, str(sum(int(suite.get(name, 0)) for suite in root)))
    indent(root, " ")
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="unicode")


def _suite(root: Element, title: str, findings: list[SchemaFinding], exempted: Iterable[str]) -> None:
    suite = SubElement(root, "testsuite", name=title)
    cases = {rule: [one for one in findings if one.rule.id == rule] for rule in RULES}
    failures = skipped = 0
    for rule, found in cases.items():
        case = SubElement(suite, "testcase", classname=title.replace("/", "."), name=rule)
        failing = [one for one in found if one.severity is Severity.ERROR and one.waived is None]
        waived = [one for one in found if one.waived is not None]
        if failing:
            failures += 1
            failure = SubElement(case, "failure", message=_plain(failing[0].message), type=rule)
            failure.text = _plain("\n".join(map(_as_text, failing)))
        elif waived or rule in exempted:
            skipped += 1
            reason = waived[0].waived if waived else "exempted by skipSchemaTestCases"
            SubElement(case, "skipped", message=_plain(reason or ""))
        others = [one for one in found if one not in failing and one not in waived]
        if others:
            SubElement(case, "system-out").text = _plain("\n".join(map(_as_text, others)))
    suite.set("tests", str(len(cases)))
    suite.set("failures", str(failures))
    suite.set("skipped", str(skipped))


def _as_text(finding: SchemaFinding) -> str:
    parts = [finding_line(finding)]
    parts += [f"  → {finding.hint}"] if finding.hint else []
    parts += [f"  example: {witness_text(finding.witness)}"] if finding.witness is not None else []
    return "\n".join(parts)


def _plain(text: str) -> str:
    return _NOT_IN_XML.sub("\ufffd", text)
