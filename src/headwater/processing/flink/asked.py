"""What a job is started with on Flink, and the arguments of a command line that say it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from headwater.processing.flink.plan import MAX_PARALLELISM, Mode
from headwater.processing.flink.tables import Guarantee
from headwater.times import time_ms

LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a job is started with. `cluster`: `host:port` of a session cluster, or LOCAL, a mini-cluster here;
    None: where Flink's own configuration says, as when `flink run` or Kubernetes starts it.

    `mode`, `parallelism`, `guarantee` None: as the job and the project say. `never_idle`: timers fire by events alone.
    `until_end`: the job ends with what is in its streams now. `settings`: of Flink, by their dotted names.

    `release`: it runs next to the job of its name, with positions and transactions of its own, such as over a part of
    history: events received from `since_ms` to before `until_ms`, where None is from the oldest, and without end.
    """

    project: Path
    job: str
    cluster: str | None = None
    parallelism: int | None = None
    mode: Mode | None = None
    guarantee: Guarantee | None = None
    never_idle: bool = False
    until_end: bool = False
    savepoint: str | None = None
    settings: tuple[tuple[str, str], ...] = ()
    release: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None

    @property
    def is_bounded(self) -> bool:
        """Whether the job ends by itself."""
        return self.until_end or self.until_ms is not None

    @property
    def suffix(self) -> str:
        """What is added to the names of what belongs to this run alone."""
        return "" if self.release is None else f".{self.release}"


def parse_arguments(arguments: Sequence[str] | None = None) -> Asked:
    """What the command line asks for; ends the program with its usage if that is wrong."""
    parser = argparse.ArgumentParser(
        prog="headwater.processing.flink.entry", allow_abbrev=False, description="Start one job of a project on Flink."
    )
    parser.add_argument("--project", type=Path, default=Path(), metavar="DIR", help="the directory of headwater.yaml")
    parser.add_argument("--job", required=True, metavar="NAME", help="the job of the project")
    parser.add_argument(
        "--cluster", metavar="HOST:PORT", help="the REST address of a session cluster; local: in this process"
    )
    parser.add_argument("--parallelism", type=_parallelism, metavar="N", help=f"at most {MAX_PARALLELISM}")
    parser.add_argument("--mode", choices=get_args(Mode), help="how Python runs; default: as the job needs it")
    parser.add_argument("--guarantee", choices=get_args(Guarantee), help="default: as the project says")
    parser.add_argument(
        "--idle", choices=("never",), help="timers fire by events alone, also of jobs that say otherwise"
    )
    parser.add_argument("--until-end", action="store_true", help="end with what is in the streams now")
    parser.add_argument("--savepoint", metavar="PATH", help="the savepoint, or the checkpoint, to start from")
    parser.add_argument(
        "--flink", action="append", default=[], type=_setting, metavar="KEY=VALUE", help="of Flink itself"
    )
    parser.add_argument(
        "--release", metavar="NAME", help="run next to the job, with a consumer group and transactions of its own"
    )
    parser.add_argument("--since", type=_time, metavar="TIME", help="events received at this time or later")
    parser.add_argument("--until", type=_time, metavar="TIME", help="events received before this time; then it ends")
    found = parser.parse_args(arguments)
    if found.release is None and (found.since is not None or found.until is not None):
        parser.error("--since and --until need --release: the job itself continues where it was")
    return Asked(
        project=found.project.resolve(),
        job=found.job,
        cluster=found.cluster,
        parallelism=found.parallelism,
        mode=found.mode,
        guarantee=found.guarantee,
        never_idle=found.idle is not None,
        until_end=found.until_end,
        savepoint=found.savepoint,
        settings=tuple(found.flink),
        release=found.release,
        since_ms=found.since,
        until_ms=found.until,
    )


def _parallelism(text: str) -> int:
    number = int(text)
    if not 1 <= number <= MAX_PARALLELISM:
        raise argparse.ArgumentTypeError(f"a number from 1 to {MAX_PARALLELISM}, not {text}")
    return number


def _time(text: str) -> int:
    found = time_ms(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"a time such as 2016-06-27T12:00:00Z, not {text}")
    return found


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"KEY=VALUE, not {text}")
    return name, value
