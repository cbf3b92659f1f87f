"""Which streams a verb reads: those of a project, or of a directory or file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from headwater.cli.up.up import require_project


def streams_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options for where the streams are, as one argument `path`."""

    def call(*, project: Path, streams: Path | None, **options: Any) -> Any:
        return function(path=streams if streams is not None else _of_project(project), **options)

    call.__doc__ = function.__doc__
    call.__name__ = function.__name__
    given = click.option(
        "--streams",
        type=click.Path(exists=True, path_type=Path),
        help="Directory of stream files, or one file with many streams. Instead of --project.",
    )(call)
    return click.option(
        "--project",
        type=click.Path(file_okay=False, path_type=Path),
        default=Path(),
        help="Project directory (default: current directory).",
    )(given)


def scope_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options `site` and `realm`."""
    with_realm = click.option("--realm", default="production", show_default=True, help="Realm of the site.")(function)
    return click.option("--site", help="Apply the overrides of this site (default: none).")(with_realm)


def _of_project(project: Path) -> Path:
    from headwater.config import load_config

    require_project(project)
    config = load_config(project)
    return config.path(config.streams.path)
