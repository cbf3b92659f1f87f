"""What is asked of a project's streams beyond what each file says: the lint, and what a log can keep."""

from __future__ import annotations

from collections.abc import Iterator

from headwater.checking.family_overlap import name_in_both
from headwater.checking.problem import Problem, problem_of
from headwater.checking.project import Project
from headwater.errors import ConfigInvalid
from headwater.streams.files import OWNERS_FILE, SERVICES_FILE, read_names
from headwater.streams.lint import Surroundings, lint


def lint_rules(project: Project) -> Iterator[Problem]:
    """What the lint of the streams finds in a project with these schemas and settings."""
    if project.streams is None:
        return
    directory = project.config.path(project.config.streams.path)
    try:
        around = Surroundings(
            schemas=project.schemas or None,
            services=read_names(directory / SERVICES_FILE),
            owners=read_names(directory / OWNERS_FILE),
            readable=_readable(project),
            name_in_both=name_in_both,
        )
        found = lint(project.streams.layers, around)
    except ConfigInvalid as error:
        yield problem_of(error, "stream-file-invalid")
        return
    for one in found:
        yield Problem(one.message, one.file, one.line, one.hint, one.rule.id, one.rule.severity.value)


def _readable(project: Project) -> frozenset[str]:
    """The streams that may be read over HTTP."""
    assert project.streams is not None
    allowed = project.config.consumption.allowed_streams
    aliases = project.config.consumption.stream_aliases
    names = (
        {stream.name for stream in project.streams.entries()}
        if allowed is None
        else {*allowed, *(aliases.get(one, one) for one in allowed)}
    )
    return frozenset(names)
