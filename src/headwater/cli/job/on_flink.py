"""`headwater job run NAME --on flink`: starts a job in the environment of Flink, as a child process."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import click
from click.core import ParameterSource

from headwater.errors import ConfigInvalid

LOCAL = "flink"
FOLDER = "var/flink"
# Where a cluster is: the address of its REST interface.
_CLUSTER = re.compile(r"flink://(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})/?")
# What belongs to runs of both kinds, and what to those on Flink alone.
_OF_BOTH = frozenset({"name", "project", "engine"})
_OF_FLINK = frozenset({"parallelism", "guarantee", "mode", "never_idle", "until_end", "savepoint"})
# How long the child may take to end after Ctrl + C.
END_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class FlinkRequest:
    """What is to run on Flink, and where: the options of the command, None for those that were not given."""

    job: str
    engine: str
    parallelism: int | None = None
    guarantee: str | None = None
    mode: str | None = None
    never_idle: bool = False
    until_end: bool = False
    savepoint: str | None = None

    @property
    def cluster(self) -> str:
        """What the child is given as its cluster. Raises ConfigInvalid for an engine that there is not."""
        if self.engine == LOCAL:
            return "local"
        found = _CLUSTER.fullmatch(self.engine)
        if found is None:
            raise ConfigInvalid(
                f"--on {self.engine}: no engine has this name.",
                hint="Write flink, for a process of this command, or flink://HOST:PORT, for a cluster.",
            )
        return f"{found['host']}:{found['port']}"

    def arguments(self, project: Path) -> list[str]:
        """The arguments of the child."""
        given = [*("--project", str(project.resolve())), *("--job", self.job), *("--cluster", self.cluster)]
        for name, value in (
            ("--parallelism", self.parallelism),
            ("--guarantee", self.guarantee),
            ("--mode", self.mode),
            ("--savepoint", self.savepoint),
        ):
            given += [] if value is None else [name, str(value)]
        given += ["--idle", "never"] if self.never_idle else []
        return given + (["--until-end"] if self.until_end else [])


def check_together(context: click.Context, engine: str | None) -> None:
    """Raises UsageError for options that do not go together, and for those that are missing."""
    given = [
        parameter
        for parameter in context.command.params
        if parameter.name and context.get_parameter_source(parameter.name) is not ParameterSource.DEFAULT
    ]
    names = {parameter.name: parameter.opts[0] for parameter in given}
    if engine is None:
        if foreign := [option for name, option in names.items() if name in _OF_FLINK]:
            raise click.UsageError(f"{foreign[0]} is for a run on Flink. Add --on flink, or leave it out.")
        for parameter in context.command.params:
            if parameter.name in ("sources", "targets") and parameter.name not in names:
                raise click.MissingParameter(ctx=context, param=parameter)
        return
    foreign = [option for name, option in names.items() if name not in _OF_BOTH | _OF_FLINK]
    if foreign:
        raise click.UsageError(
            f"--on and {foreign[0]} do not go together: on Flink a job reads and writes the streams of its project."
            f" Leave out {foreign[0]}, or run over files without --on."
        )


def run_on_flink(project: Path, asked: FlinkRequest) -> int:
    """Start the job, and wait until the child has ended; its exit code.

    Raises ConfigInvalid, JobInvalid for what cannot run there, and ExtraMissing without an environment of Flink.
    """
    from headwater.processing.contract import require_supported
    from headwater.processing.flink.features import unsupported_reasons
    from headwater.processing.flink.loading import load_job
    from headwater.processing.flink.runtime import find_runtime

    arguments = asked.arguments(project)
    loaded = load_job(project, asked.job, never_idle=asked.never_idle)
    require_supported(loaded.job, unsupported_reasons(loaded.job, loaded.config))
    runtime = find_runtime(loaded.config)
    child = subprocess.Popen(
        [str(runtime.python), "-m", "headwater.processing.flink.entry", *arguments],
        env=runtime.environment(loaded.config.path(FOLDER).resolve()),
    )
    try:
        return child.wait()
    except KeyboardInterrupt:
        # The terminal has interrupted the child, too.
        return _ended(child)


def _ended(child: subprocess.Popen[bytes]) -> int:
    deadline = time.monotonic() + END_SECONDS
    while time.monotonic() < deadline:
        try:
            return child.wait(timeout=deadline - time.monotonic())
        except KeyboardInterrupt:
            continue
        except subprocess.TimeoutExpired:
            break
    child.send_signal(signal.SIGKILL)
    return child.wait()
