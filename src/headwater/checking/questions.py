"""Every question that is asked of a project before it is started: the one list, for `check`, `up` and `demo`.

To add one: write a function that yields a Problem for each thing that is wrong, and give it a row here. Everything else
follows from the row: it is asked by `headwater check` and `headwater up`, and stands in docs/reference/checks.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from headwater.checking import jobs, streams
from headwater.checking.problem import Problem, Severity, problem_of, relative
from headwater.checking.project import Project, Watch, read_project
from headwater.checking.schemas import rules_of_repositories
from headwater.config import Config, load_config
from headwater.errors import ConfigInvalid


@dataclass(frozen=True, slots=True)
class Question:
    """One thing that is asked of a project. `id` is stable; the problems that `ask` yields get it and the severity."""

    id: str
    severity: Severity
    meaning: str
    ask: Callable[[Project], Iterator[Problem]]


QUESTIONS: Sequence[Question] = (
    Question(
        "job-stream-undeclared",
        Severity.ERROR,
        "A job reads, writes or sends late events to a stream that is not declared.",
        jobs.streams_are_declared,
    ),
)

# What reading a project finds by itself: the rule, and what it means.
READING: Sequence[tuple[str, str]] = (
    ("settings-invalid", "`headwater.yaml`, or a variable that overrides it, says something that cannot be."),
    ("stream-file-invalid", "A stream file cannot be read, or declares a stream that cannot be."),
    ("schema-invalid", "A schema cannot be read or compiled."),
    ("job-file-invalid", "A file of jobs cannot be loaded, or describes a job that cannot be."),
)


@dataclass(frozen=True, slots=True)
class Report:
    """What was found, in the order of the questions; `project` is None where the settings cannot be read."""

    problems: Sequence[Problem]
    project: Project | None = field(default=None, repr=False)

    @property
    def errors(self) -> Sequence[Problem]:
        return [problem for problem in self.problems if problem.severity == Severity.ERROR]

    @property
    def warnings(self) -> Sequence[Problem]:
        return [problem for problem in self.problems if problem.severity == Severity.WARNING]


def check_settings(directory: Path, watch: Watch = iter) -> Report:
    """Everything that is wrong with the project in `directory`, its settings among it."""
    try:
        config = load_config(directory)
    except ConfigInvalid as error:
        problem = problem_of(error, "settings-invalid")
        return Report([dataclasses.replace(problem, file=relative(problem.file, directory))])
    return check_project(config, watch)


def check_project(config: Config, watch: Watch = iter) -> Report:
    """Everything that is wrong with a project of these settings, as far as it shows without running it."""
    project = read_project(config, watch)
    of_rules = list(rules_of_repositories(project))
    found = [*_said_once(project.unread, of_rules), *_answers(project), *of_rules, *streams.lint_rules(project)]
    return Report([_placed(problem, config.project_dir) for problem in found], project)


def _said_once(unread: Sequence[Problem], of_rules: Sequence[Problem]) -> list[Problem]:
    """What could not be read, without schemas that the rules find at fault too: they know the line."""
    told = {problem.file for problem in of_rules if problem.severity == Severity.ERROR and problem.line}
    return [problem for problem in unread if problem.rule != "schema-invalid" or problem.file not in told]


def _answers(project: Project) -> Iterator[Problem]:
    for question in QUESTIONS:
        for problem in question.ask(project):
            yield dataclasses.replace(problem, rule=question.id, severity=question.severity.value)


def _placed(problem: Problem, directory: Path) -> Problem:
    return dataclasses.replace(problem, file=relative(problem.file, directory))
