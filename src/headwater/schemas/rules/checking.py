"""The check of a schema repository: every rule is applied to every schema, and no finding hides another.

How this works: titles are divided among processes if that saves time. For each title the current file is materialized
in memory; a version file with the same bytes needs no parsing. The rules yield breaches with JSON pointers, and the
files that have some are read a second time for lines and columns. Rules about several schemas come last, and so do
waivers.
"""

from __future__ import annotations

import datetime
import gc
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from headwater.finding import Severity
from headwater.schemas.rules import evolution
from headwater.schemas.rules.catalogue import RULES
from headwater.schemas.rules.one_schema import SchemaCheck, SchemaReport
from headwater.schemas.rules.policy import Policy, read_policy
from headwater.schemas.rules.rule import Breach, SchemaFinding
from headwater.schemas.workspace.working_copy import WorkingCopy
from headwater.schemas.workspace.working_settings import SETTINGS_FILE

_PAYS_FROM_SCHEMAS = 300
_SCHEMA_NAME = re.compile(r"(?:current|[0-9]+(?:\.[0-9]+)*)\.(?:ya?ml|json)")


@dataclass(frozen=True)
class CheckResult:
    """The result of a check.

    `findings` are ordered by file and line, including waived ones; `skipped` are (rule, URI) that the skip lists of the
    settings exempt; `titles` the schemas that were checked, `documents` how many files.
    """

    findings: Sequence[SchemaFinding] = ()
    skipped: Sequence[tuple[str, str]] = ()
    titles: Sequence[str] = ()
    documents: int = 0
    mode: str = "EVENT"

    def of(self, severity: Severity) -> list[SchemaFinding]:
        """The findings of a severity that are not waived."""
        return [one for one in self.findings if one.severity is severity and one.waived is None]


@dataclass
class _Work:
    """The work of one process: its titles among all that are materialized."""

    copy: WorkingCopy
    policy: Policy
    titles: Sequence[str]
    building: Sequence[str]
    notes: bool
    reports: list[SchemaReport] = field(default_factory=list)


def check_schemas(
    copy: WorkingCopy,
    *,
    titles: Sequence[str] | None = None,
    since: str | None = None,
    today: datetime.date | None = None,
    notes: bool = True,
    processes: int | None = None,
    policy: Policy | None = None,
) -> CheckResult:
    """Check these schemas, or every one, by the policy of the settings or by another.

    `since` names a Git revision: only what differs from it is checked, and its content counts as released. `today`
    decides which waivers have expired; `notes` False skips notes from the start, which is faster. Raises ConfigInvalid
    for invalid settings, SchemaNotFound for an unknown title, and SchemaUnavailable if Git does not know the revision
    `since`.
    """
    policy = policy or read_policy(copy.settings)
    whole = titles is None and since is None
    if since is not None:
        titles = _changed_titles(copy, since, titles)
    wanted = list(copy.schemas) if titles is None else list(dict.fromkeys(titles))
    reports = _reports(copy, policy, wanted, notes=notes, processes=processes)
    findings = [finding for report in reports for finding in report.findings]
    within = None if whole or since is not None else wanted
    for uri, file, breach in evolution.releases(copy, since, history=whole, titles=within):
        findings += _finding(policy, uri.rpartition("/")[0].strip("/"), uri, file, breach)
    if whole:
        findings += _across(copy, policy, reports)
    findings = _waived(findings, policy, today or datetime.date.today(), whole=whole)
    if not notes:
        findings = [one for one in findings if one.severity is not Severity.NOTE]
    return CheckResult(
        sorted(findings, key=lambda one: (one.file or "", one.line or 0, one.column or 0, one.rule.id)),
        [skip for report in reports for skip in report.skipped],
        wanted,
        sum(report.documents for report in reports),
        policy.mode,
    )


def _changed_titles(copy: WorkingCopy, since: str, titles: Sequence[str] | None) -> list[str]:
    from headwater.schemas.workspace.git_changes import changed_files, files_changed_since

    files = [*files_changed_since(copy.base, since), *changed_files(copy.base, staged=False)]
    places = {file.parent.relative_to(copy.base).as_posix() for file in files}
    return [title for title in copy.schemas if title in places and (titles is None or title in titles)]


def _reports(
    copy: WorkingCopy, policy: Policy, titles: Sequence[str], *, notes: bool, processes: int | None
) -> list[SchemaReport]:
    if processes is None:
        processes = (os.cpu_count() or 1) if len(titles) >= _PAYS_FROM_SCHEMAS else 1
    if processes <= 1:
        return _share(_Work(copy, policy, titles, titles, notes))
    from concurrent.futures import ProcessPoolExecutor

    # Several shares for each process, so that a share of large schemas does not delay the others.
    size = -(-len(titles) // (processes * 4))
    shares = [titles[start : start + size] for start in range(0, len(titles), size)]
    # Nothing here is a cycle worth collecting in a process that lives for one share (measured: a tenth of the time).
    with ProcessPoolExecutor(processes, initializer=gc.disable) as pool:
        work = [_Work(copy, policy, share, titles, notes) for share in shares]
        return [report for reports in pool.map(_share, work) for report in reports]


def _share(work: _Work) -> list[SchemaReport]:
    check = SchemaCheck(work.copy, work.policy, work.building, notes=work.notes)
    return [check.report(title) for title in work.titles]


def _across(copy: WorkingCopy, policy: Policy, reports: Iterable[SchemaReport]) -> Iterator[SchemaFinding]:
    """Findings about all schemas together: a title in two places, and files outside the directories of schemas."""
    declared: dict[str, list[SchemaReport]] = {}
    for report in reports:
        if report.declared_title is not None:
            declared.setdefault(report.declared_title, []).append(report)
    for title, several in declared.items():
        for report in several[1:]:
            message = f'The title "{title}" is declared in {several[0].title} already.'
            breach = Breach("title-in-one-directory", "", message, "Give each schema a title of its own.")
            yield from _finding(policy, report.title, report.title, report.file, breach)
    if copy.settings.ignore_schemas:
        return
    for file in _stray_files(copy):
        message = f"{file.name} is not in the directory of a schema, so nothing reads it."
        hint = f"Schemas are directories below {copy.shown(copy.base)}, with {copy.settings.current_file} and versions."
        yield from _finding(policy, "", "", copy.shown(file), Breach("file-name", "", message, hint))


def _stray_files(copy: WorkingCopy) -> Iterator[Path]:
    for here, directories, names in os.walk(copy.base):
        directories[:] = [name for name in directories if name != "node_modules" and not name.startswith(".")]
        directory = Path(here)
        if directory.relative_to(copy.base).as_posix() not in copy.schemas:
            files = (directory / name for name in sorted(names) if _SCHEMA_NAME.fullmatch(name))
            yield from (file for file in files if not file.is_symlink())


def _finding(policy: Policy, title: str, uri: str, file: str | None, breach: Breach) -> Iterator[SchemaFinding]:
    severity = policy.severity(breach.rule, breach.severity)
    if severity is not None:
        rule = RULES[breach.rule]
        yield SchemaFinding(rule, severity, title, breach.message, breach.hint, file, uri=uri, witness=breach.witness)


def _waived(findings: list[SchemaFinding], policy: Policy, today: datetime.date, *, whole: bool) -> list[SchemaFinding]:
    """The findings with their waivers, and a further finding for each waiver that has expired or covers nothing."""
    used: set[int] = set()
    covered = []
    for finding in findings:
        reason = None
        for at, waiver in enumerate(policy.waivers):
            if waiver.covers(finding.rule.id, finding.subject, finding.uri, finding.pointer):
                used.add(at)
                reason = waiver.reason if today <= waiver.until else reason
        covered.append(replace(finding, waived=reason) if reason else finding)
    for at, waiver in enumerate(policy.waivers):
        if today > waiver.until and at in used:
            message = f"The waiver of {waiver.rule} for {waiver.schema} ended on {waiver.until}: {waiver.reason}"
            breach = Breach("waiver-expired", "", message, "Fix what it covers, or renew it with a reason.")
        elif at not in used and whole:
            message = f"The waiver of {waiver.rule} for {waiver.schema} covers nothing."
            breach = Breach("waiver-unused", "", message, "Remove it.")
        else:
            continue
        covered += _finding(policy, "", "", SETTINGS_FILE, breach)
    return covered
