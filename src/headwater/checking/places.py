"""The checks of the paths that a project writes to: whether a file or directory can exist there."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from headwater.checking.problem import Problem
from headwater.checking.project import Project
from headwater.checking.settings import keeps_tables

# A project may be checked by another user than the one who runs it: missing permissions are ignored.
_OF_WHO_ASKS = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


def places_can_be_made(project: Project) -> Iterator[Problem]:
    """What the platform writes can be created at the configured paths: parent directories exist, or can be created."""
    config = project.config
    places: list[tuple[str, str, Path]] = []
    if not config.log.is_kafka:
        places.append(("log", "url", config.log_path))
    if keeps_tables(project):
        places.append(("jobs", "tables_path", config.path(config.jobs.tables_path)))
    if config.log.is_kafka and any(job.keeps_state for job in project.jobs):
        places.append(("jobs", "state_path", config.path(config.jobs.state_path)))
    if config.intake.hasty_spool_path:
        places.append(("intake", "hasty_spool_path", config.path(config.intake.hasty_spool_path)))
    places.append(("control", "api_keys_path", config.path(config.control.api_keys_path)))
    for section, key, path in places:
        if why := why_not_made(path):
            message = f"{section}.{key}: {path} cannot be created: {why}."
            yield project.at_setting(section, key, message, "Use a writable path.")


def why_not_made(path: Path) -> str | None:
    """Why nothing can be created at `path`; None if it exists, or can be created. Leaves no files."""
    above = path.parent
    try:
        if path.exists():
            return None
        while not above.exists():
            above = above.parent
        limit = os.pathconf(above, "PC_NAME_MAX") if above.is_dir() else 255
        for part in path.relative_to(above).parts:
            if len(os.fsencode(part)) > limit:
                return f"the name {part[:40]}… is longer than {limit} bytes"
        with tempfile.TemporaryFile(dir=above):
            return None
    except ValueError as error:
        return str(error)
    except OSError as error:
        if error.errno in _OF_WHO_ASKS:
            return None
        return f"nothing can be created in {above} ({error.strerror})"
