"""Where the results of a run over history go: files, standard output, or the log of the project."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headwater.errors import ConfigInvalid
from headwater.jobs.job import Job
from headwater.processing.batch.inputs import LOG, InputFile
from headwater.processing.batch.store import ResultFile
from headwater.streams.registry import StreamRegistry


@dataclass(frozen=True, slots=True)
class Request:
    """What one call of `headwater job run` asks for."""

    name: str
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    errors: Path | None = None
    late: Path | None = None
    state: Path | None = None
    settings: tuple[str, ...] = ()
    restart: bool = False
    tables: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Place:
    """A result: its file, or the log; neither if it is only counted."""

    file: str | None
    into_log: bool = False


def results_of(request: Request, job: Job, streams: StreamRegistry) -> list[ResultFile]:
    """The results, and which topics go into each. Raises ConfigInvalid."""
    writes = job.writes()
    has_table = writes.table_name is not None
    if has_table and len(request.targets) > 1:
        raise ConfigInvalid(f"The job {job.name} fills one table.", hint="Name one file with --to.")
    by_place: dict[_Place, list[str]] = {}
    for target in request.targets:
        place, names = _target(target, job)
        by_place.setdefault(place, []).extend(names)
    if writes.events is not None:
        raise ConfigInvalid(
            f"The job {job.name} gives the events of {job.reads()[0]} to another system.",
            hint="Read them with `headwater streams tail` or `headwater sql`.",
        )
    if writes.table is not None and any(place.into_log for place in by_place):
        raise ConfigInvalid(f"The job {job.name} fills a table, not a stream.", hint="Name a file with --to.")
    # The whole log is for everything that is given no file.
    rest = _Place(None, into_log=LOG[0] in request.targets)
    pairs = [*by_place.items(), (_Place(str(request.errors)) if request.errors else rest, [writes.errors])]
    if writes.late is not None:
        pairs.append((_Place(str(request.late)) if request.late else rest, [writes.late]))
    elif request.late is not None:
        raise ConfigInvalid(f"The job {job.name} has no late stream.", hint='Give it one: @job(…, late="STREAM").')
    made = []
    for index, (place, names) in enumerate(pairs):
        topics = frozenset(topic for name in names for topic in streams.get(name).topics)
        file = None if place.file is None else Path(place.file)
        is_table = has_table and index == 0 and not place.into_log
        made.append(ResultFile(f"result-{index}", topics, file, is_table, place.into_log))
    return made


def _target(target: str, job: Job) -> tuple[_Place, list[str]]:
    """The place that `--to` names, and the streams that go there."""
    writes = job.writes()
    outputs = [name for name in writes.results if name != writes.late]
    kind, colon, name = target.partition(":")
    if target == LOG[0]:
        return _Place(None, into_log=True), outputs
    if colon and kind in LOG:
        return _Place(None, into_log=True), [_written(name, target, outputs)]
    name, equals, path = target.partition("=")
    parent = Path(target).parent
    # A directory such as `hour=1` may be there; otherwise what is before the sign can only mean a stream.
    if equals and name == writes.table_name:
        return _Place(path), outputs
    if equals and (name in outputs or ("/" not in name and (parent == Path() or not parent.exists()))):
        return _Place(path), [_written(name, target, outputs)]
    return _Place(target), outputs


def _written(name: str, target: str, outputs: Sequence[str]) -> str:
    if name not in outputs:
        raise ConfigInvalid(
            f"--to {target}: the job writes no stream {name}.", hint=f"It writes {', '.join(outputs) or 'none'}."
        )
    return name


def refuse_overwriting(files: Sequence[InputFile], results: Sequence[ResultFile]) -> None:
    """Raise ConfigInvalid if a result would replace an input, or another result."""
    inputs = {file.path.resolve() for file in files}
    seen: set[Path] = set()
    for result in results:
        if result.path is None or result.is_standard_output:
            continue
        place = result.path.resolve()
        if place in inputs:
            raise ConfigInvalid(f"{result.path} is part of the input.", hint="Write the results to another file.")
        if place in seen:
            raise ConfigInvalid(f"{result.path} is named twice.", hint="Write each kind of result to its own file.")
        if not place.parent.is_dir():
            raise ConfigInvalid(f"There is no directory {result.path.parent}.", hint="Create it first.")
        if place.is_dir():
            raise ConfigInvalid(f"{result.path} is a directory.", hint="Name a file.")
        seen.add(place)
