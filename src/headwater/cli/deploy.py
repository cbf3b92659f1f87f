"""`headwater deploy`: files for running a project on Kubernetes, or in a container."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from headwater.cli.console import say
from headwater.cli.plan import project_option
from headwater.errors import ConfigInvalid

if TYPE_CHECKING:
    from headwater.deploy.pods import Manifest
    from headwater.deploy.release import Release

Target = Literal["kubernetes", "container"]
Command = TypeVar("Command", bound=Callable[..., Any])


def deploy_options(command: Command) -> Command:
    """The options of all verbs that write files for deploying."""
    for option in (
        click.option("--check", "only_checks", is_flag=True, help="Write nothing; exit with 1 if a file would change."),
        click.option(
            "--output-dir",
            "output",
            type=click.Path(file_okay=False, path_type=Path),
            help="Directory to write a file for each object to.  [default: print them]",
        ),
        click.option(
            "--environment",
            type=click.Path(path_type=Path),
            help="File with what differs between environments: images, sizes, names of secrets.  [default: deploy.yaml "
            "of the project]",
        ),
        project_option,
    ):
        command = option(command)
    return command


@click.command(
    short_help="Write files for running a project on Kubernetes.",
    epilog="""\b
Examples:
  headwater deploy --to container --output-dir .
  headwater deploy --to kubernetes --environment deploy/production.yaml --output-dir deploy/production""",
)
@click.option(
    "--to", "target", type=click.Choice(["kubernetes", "container"]), required=True, help="What to write files for."
)
@deploy_options
def command(*, target: Target, project: Path, environment: Path | None, output: Path | None, only_checks: bool) -> None:
    """Write what a project needs to run elsewhere, as files to commit. Nothing is contacted and nothing is applied.

    `kubernetes`: manifests for the platform's processes, and for the jobs that `flink.jobs` names. `container`: the
    files that images are built from. No secret is in them, only names of secrets. The same project and environment
    give the same bytes.
    """
    if target == "container":
        _write_container_files(project, environment, output, only_checks=only_checks)
        return
    from headwater.deploy.platform_manifests import platform_manifests

    release = read_release(project, environment)
    if not release.environment.image:
        raise ConfigInvalid("The environment names no image.", hint="Write `image: REGISTRY/NAME:TAG`.")
    manifests = platform_manifests(release)
    if release.config.flink.jobs:
        from headwater.deploy.flink_manifests import flink_manifests

        manifests += flink_manifests(release, tuple(release.config.flink.jobs))
    write_manifests(manifests, output, only_checks=only_checks)


def _write_container_files(project: Path, environment: Path | None, output: Path | None, *, only_checks: bool) -> None:
    from headwater.cli.up.start_check import checked
    from headwater.cli.up.up import require_project
    from headwater.config import load_config
    from headwater.deploy.container_files import container_files
    from headwater.deploy.environment import ENVIRONMENT_FILE, require_environment
    from headwater.deploy.release import deployed_config

    require_project(project)
    if output is None or output.resolve() != project.resolve():
        raise ConfigInvalid(
            "Images are built from the directory of the project, so their files are written there.",
            hint=f"Use --output-dir {project}.",
        )
    if environment is not None or (project / ENVIRONMENT_FILE).is_file():
        config = deployed_config(project, require_environment(project, environment))
    else:
        config = load_config(project, environment={})
    write(container_files(checked(config, force=False)), output, only_checks=only_checks)


def read_release(project: Path, environment: Path | None) -> Release:
    """The checked project, as it is deployed. Raises ConfigInvalid, also if `headwater check` finds errors."""
    from headwater.cli.up.start_check import checked
    from headwater.cli.up.up import require_project
    from headwater.deploy.environment import require_environment
    from headwater.deploy.release import deployed_config, release_of

    require_project(project)
    found = require_environment(project, environment)
    return release_of(checked(deployed_config(project, found), force=False), found)


def write_manifests(manifests: list[Manifest], output: Path | None, *, only_checks: bool) -> None:
    """Print the manifests, or write a file for each."""
    from headwater.deploy.output import NOTICE, manifest_files
    from headwater.deploy.written_yaml import yaml_documents

    if output is None:
        if only_checks:
            raise ConfigInvalid("--check compares with files.", hint="Name their directory with --output-dir.")
        click.echo(NOTICE + yaml_documents(manifests), nl=False)
    else:
        write(manifest_files(manifests), output, only_checks=only_checks)


def write(files: Mapping[str, str], output: Path, *, only_checks: bool) -> None:
    """Write the files that differ and say so; or only say which would, and exit with 1 if there are any."""
    from headwater.deploy.output import differing, write_files

    if only_checks:
        changed = differing(files, output)
        for path in changed:
            say(f"{path} would be written.")
        if changed:
            raise click.exceptions.Exit(1)
        return
    for path in write_files(files, output):
        say(f"Wrote {path}.")
