"""What a job reads and writes is worked out in one place: `Job.reads()` and `Job.writes()`.

Refused in the package outside `headwater.jobs`:
- the names `ToStream` and `ToTable`, except to make one (`ToStream("name")`), to import them, and to offer them again;
- importing them, or a module that has them, under another name;
- reading `sources`, `output`, `late_stream` or `error_stream` of a job: of anything called `job`, or `…_job`.
With the first rule and mypy, `output` cannot be taken apart under any name: its parts differ between its types.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src" / "headwater"
SINKS = {"ToStream", "ToTable"}
FIELDS = {"sources", "output", "late_stream", "error_stream"}


def _is_sink(node: ast.AST) -> bool:
    return (isinstance(node, ast.Name) and node.id in SINKS) or (isinstance(node, ast.Attribute) and node.attr in SINKS)


def _is_job(node: ast.expr) -> bool:
    name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
    return name == "job" or name.endswith("_job")


def refused(text: str) -> list[str]:
    """Each use, as `line: source`, by which code that is no part of `headwater.jobs` works out lineage."""
    tree = ast.parse(text)
    made = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            is_wrong = any(one.name in SINKS and one.asname not in (None, one.name) for one in node.names)
        else:
            is_wrong = _is_sink(node) and id(node) not in made
            is_wrong |= isinstance(node, ast.Attribute) and node.attr in FIELDS and _is_job(node.value)
        if is_wrong:
            found.append(f"{getattr(node, 'lineno', 0)}: {ast.unparse(node)}")
    return found


def test_nobody_but_the_jobs_themselves_works_out_what_they_read_and_write() -> None:
    files = [path for path in sorted(SOURCE.rglob("*.py")) if not path.is_relative_to(SOURCE / "jobs")]
    assert len(files) > 100
    found = [f"{path.relative_to(SOURCE)}:{use}" for path in files for use in refused(path.read_text("utf-8"))]
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        "isinstance(job.output, ToStream)",
        "isinstance(made, ToStream | ToTable)",
        "isinstance(made, (jobs.ToTable, str))",
        "type(one) is ToTable",
        "match one:\n    case ToStream(stream=name):\n        pass",
        "def fill(target: ToTable) -> None: ...",
        "from headwater.jobs import ToTable as Target",
        "KINDS = {ToStream: 1}",
        "job.sources",
        "self.job.late_stream",
        "self._job.error_stream",
        "runner.job.output",
        "for name in other_job.sources: pass",
    ],
)
def test_every_way_to_take_a_sink_apart_is_refused(text: str) -> None:
    assert refused(text) != []


@pytest.mark.parametrize(
    "text",
    [
        'Job("passing", ("edits",), (), ToStream("passed"))',
        "from headwater.jobs import ToStream",
        '__all__ = ["ToStream"]',
        "job.writes().output",
        "flow.sources",
        "settings.error_stream",
        "args.output",
    ],
)
def test_making_a_job_and_asking_it_is_not(text: str) -> None:
    assert refused(text) == []
