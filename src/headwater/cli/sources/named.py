"""The sources of a project by name, for the verbs about one of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from headwater.cli.up.up import require_project
from headwater.errors import ConfigInvalid

if TYPE_CHECKING:
    from headwater.config import Config
    from headwater.processing.source_files import DeclaredSource


def project_sources(project: Path) -> tuple[Config, list[DeclaredSource]]:
    """The configuration and the sources of the project. Raises ConfigInvalid."""
    from headwater.config import load_config
    from headwater.processing.declared_connectors import project_sources as read

    require_project(project)
    config = load_config(project)
    return config, list(read(config))


def source_named(project: Path, name: str) -> tuple[Config, DeclaredSource]:
    """The configuration, and the source of that name. Raises ConfigInvalid."""
    from headwater.declaration import suggestion

    config, found = project_sources(project)
    for source in found:
        if source.name == name:
            return config, source
    names = [source.name for source in found]
    hint = suggestion(name, names) or f"Known: {', '.join(names) or 'none'}."
    raise ConfigInvalid(f"The project has no source {name}.", hint=hint)


def job_of_source(project: Path, name: str) -> str:
    """The name of the job that reads the source. Raises ConfigInvalid, also for one that is pushed to the platform."""
    return source_that_reads(project, name).job_name


def source_that_reads(project: Path, name: str) -> DeclaredSource:
    """The source of that name. Raises ConfigInvalid, also for one that is pushed to the platform."""
    _, source = source_named(project, name)
    if source.configured.spec.pushed:
        raise ConfigInvalid(
            f"The source {name} reads nothing: its events are posted to the platform.",
            hint="Remove its file to refuse them.",
        )
    return source
