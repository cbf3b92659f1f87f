"""The checks of a project's schemas: the rules of `headwater schema check`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from headwater.checking.problem import Problem, problem_of
from headwater.checking.project import Project
from headwater.errors import HeadwaterError
from headwater.schemas.rules import check_schemas
from headwater.schemas.workspace.working_copy import WorkingCopy
from headwater.schemas.workspace.working_settings import SETTINGS_FILE


def rules_of_repositories(project: Project) -> Iterator[Problem]:
    """The findings of the rules in each directory of schemas that has its own settings."""
    known = {(Path(one.file).resolve(), one.line, one.message) for one in project.unread if one.file}
    for base in project.config.schema_base_uris:
        # Without settings a directory may contain only released versions, without current files.
        if base.startswith(("http://", "https://")) or not Path(base).is_dir():
            continue
        try:
            copy = WorkingCopy.open(base)
            found = check_schemas(copy).findings if (copy.root / SETTINGS_FILE).is_file() else ()
        except HeadwaterError as error:
            yield problem_of(error, "schema-invalid")
            continue
        for one in found:
            # Whether a version compiles, and its references, has been checked already.
            if one.waived is None and one.rule.id != "schema-compiles":
                file = str(copy.root / one.file) if one.file else None
                if file is None or (Path(file).resolve(), one.line, one.message) not in known:
                    yield Problem(one.message, file, one.line, one.hint, one.rule.id, one.severity)
