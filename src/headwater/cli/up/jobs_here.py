"""Which jobs of a project one process runs, if other processes run the rest."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from headwater.config import Config
from headwater.errors import ConfigInvalid

# All, those whose partitions processes share, or none.
WhichJobs = Literal["all", "shared", "none"]


def elsewhere(which: WhichJobs, names: Iterable[str]) -> frozenset[str]:
    """Of all jobs of a project, those that must not be started here, besides those that are not shared."""
    return frozenset(names if which == "none" else ())


def require_possible(which: WhichJobs, config: Config) -> None:
    """Raise ConfigInvalid if processes of this project cannot divide its jobs like this."""
    if which != "all" and not config.log.is_kafka:
        raise ConfigInvalid(
            f"--jobs {which} needs a log that several processes can write, such as kafka://…; "
            f"this project's log is {config.log.url}.",
            hint="Omit --jobs: on SQLite one process does everything.",
        )
    if which == "shared" and not config.jobs.shared:
        raise ConfigInvalid(
            "--jobs shared runs the jobs that processes share, and here they share none.",
            hint="Set `jobs.shared: true`, for all processes of the project.",
        )
