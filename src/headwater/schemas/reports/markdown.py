"""The report on a pull request in Markdown: what changed, its effect on data and tables, and what it would break."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from headwater.finding import Severity
from headwater.schemas.reports.text import summary, witness_text
from headwater.schemas.rules.checking import CheckResult
from headwater.schemas.rules.rule import SchemaFinding
from headwater.schemas.workspace.release_change import SchemaChange

CHANGES_SHOWN_MAX = 20
FINDINGS_SHOWN_MAX = 50
_SIGNS = {"yes": "✅ yes", "no": "❌ no", "unknown": "❔ unknown", "n/a": "– not checked"}
_QUESTIONS = (
    ("backward", "The new version accepts data of the old one"),
    ("forward", "The old version accepts data of the new one"),
    ("storage", "Tables of the old version hold data of the new one"),
)

# title → sentences about streams, jobs and sinks of a project that read or fill its events
Users = Mapping[str, Sequence[str]]


def markdown(result: CheckResult, changes: Sequence[SchemaChange], since: str, users: Users | None = None) -> str:
    """The whole report. `users` None: no project was given, so the users of a schema are left out."""
    lines = ["## Schema check", "", f"**{_escaped(summary(result))}** Compared with `{since}`.", ""]
    lines += _overview(changes)
    for change in changes:
        lines += _of_schema(change, users)
    lines += _findings(result)
    return "\n".join(lines).rstrip() + "\n"


def _overview(changes: Sequence[SchemaChange]) -> Iterator[str]:
    if not changes:
        yield from ("No schema changed.", "")
        return
    yield "| schema | version | backward | forward | storage | requires |"
    yield "|---|---|---|---|---|---|"
    for change in changes:
        step = f"{change.old_version or 'new'} → {change.new_version or '?'}"
        comparison = change.comparison
        answers = [getattr(comparison, name).verdict if comparison else "" for name, _ in _QUESTIONS]
        verdicts = " | ".join(_SIGNS.get(answer, "") for answer in answers)
        yield f"| `{change.title}` | {step} | {verdicts} | {_asked(change)} |"
    yield ""


def _asked(change: SchemaChange) -> str:
    if change.problem:
        return "❌ cannot be compared"
    if change.advice is None:
        return "a first version"
    if change.advice.level == "none":
        return "nothing"
    enough = change.bump_is_enough
    return f"{'✅' if enough else '⚠️'} a {change.advice.level} version{'' if enough else ' at least'}"


def _of_schema(change: SchemaChange, users: Users | None) -> Iterator[str]:
    yield from (f"### `{change.title}`", "")
    if change.problem:
        yield from (_escaped(change.problem), "")
        return
    if change.old_version is None:
        yield from (f"A new schema, starting with {change.new_version}.", "")
    elif not change.changes:
        yield from ("Its content did not change.", "")
    shown = change.changes[:CHANGES_SHOWN_MAX]
    yield from (f"- {_escaped(one.sentence)}" for one in shown)
    if len(change.changes) > len(shown):
        yield f"- … and {len(change.changes) - len(shown)} more changes"
    if shown:
        yield ""
    yield from _verdicts(change)
    if change.bump_is_enough is False and change.advice:
        yield f"> ⚠️ {change.old_version} → {change.new_version} is too small an increment: this is a"
        yield f"> {change.advice.level} change. `headwater schema bump {change.title}` writes the version."
        yield ""
    if users is not None:
        yield from _users(change, users.get(change.title, ()))


def _verdicts(change: SchemaChange) -> Iterator[str]:
    if change.comparison is None:
        return
    for name, question in _QUESTIONS:
        answer = getattr(change.comparison, name)
        if answer.verdict not in ("no", "unknown"):
            continue
        yield f"**{question}: {_SIGNS[answer.verdict]}**"
        yield ""
        if answer.doubt:
            yield f"- {_escaped(answer.doubt)}"
        for reason in answer.reasons:
            yield f"- {_escaped(reason.sentence)} {_escaped(reason.fix)}"
            if reason.witness is not None:
                # In a fence no part of an instance is read as markup.
                yield from ("", "  ````json", f"  {witness_text(reason.witness).replace('````', '')}", "  ````")
        yield ""


def _users(change: SchemaChange, sentences: Sequence[str]) -> Iterator[str]:
    if not sentences:
        yield from ("No stream, job or sink of the project uses it.", "")
        return
    yield "**It would break:**" if change.is_breaking else "Used by (none of these break):"
    yield ""
    yield from (f"- {_escaped(sentence)}" for sentence in sentences)
    yield ""


def _findings(result: CheckResult) -> Iterator[str]:
    reported = [one for one in result.findings if one.waived is None and one.severity is not Severity.NOTE]
    if not reported:
        return
    yield from ("### Findings", "", "| place | what | rule |", "|---|---|---|")
    # Errors first, so that the least important findings are cut off.
    for finding in sorted(reported, key=lambda one: one.severity is not Severity.ERROR)[:FINDINGS_SHOWN_MAX]:
        yield _row(finding)
    if len(reported) > FINDINGS_SHOWN_MAX:
        yield f"| | … and {len(reported) - FINDINGS_SHOWN_MAX} more | |"
    yield ""


def _row(finding: SchemaFinding) -> str:
    sign = "❌" if finding.severity is Severity.ERROR else "⚠️"
    hint = f"<br>{_escaped(finding.hint)}" if finding.hint else ""
    return f"| `{finding.place}` | {sign} {_escaped(finding.message)}{hint} | `{finding.rule.id}` |"


def _escaped(text: str) -> str:
    """Text from schemas must not become markup of the page the report is shown on."""
    plain = text.replace("\\", "\\\\").replace("<", "&lt;").replace("|", "\\|").replace("@", "&#64;")
    return " ".join(plain.replace("[", "\\[").split())
