"""Materializes many schemas: every failure is collected, and several processes share the work if that saves time.

How this works: a materialized schema depends only on files, so each process takes a share of the titles and makes what
those need by itself. Below a few hundred schemas, starting processes costs more than it saves.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from headwater.errors import HeadwaterError
from headwater.schemas.dialect import check_against_metaschema, dialect_of
from headwater.schemas.workspace.materialize import Materialized, Materializer
from headwater.schemas.workspace.working_copy import WorkingCopy

_PAYS_FROM_SCHEMAS = 300


@dataclass(frozen=True)
class MaterializeResult:
    """The result of a run: `made` in the order of the titles, and `failures` as (title, error)."""

    made: Sequence[Materialized] = ()
    failures: Sequence[tuple[str, HeadwaterError]] = field(default_factory=tuple)


def materialize_all(
    copy: WorkingCopy, titles: Sequence[str] | None = None, *, processes: int | None = None
) -> MaterializeResult:
    """Materialize these schemas (None: every schema that has a current file); writes nothing.

    `processes` None: as many as save time.
    """
    if titles is None:
        titles = [title for title, folder in copy.schemas.items() if folder.current]
    if processes is None:
        processes = (os.cpu_count() or 1) if len(titles) >= _PAYS_FROM_SCHEMAS else 1
    if processes <= 1:
        return _share(copy, titles, titles)
    from concurrent.futures import ProcessPoolExecutor

    # Neighbouring titles use the same fragments, so they go to the same process.
    size = -(-len(titles) // processes)
    shares = [titles[start : start + size] for start in range(0, len(titles), size)]
    with ProcessPoolExecutor(processes) as pool:
        futures = [pool.submit(_share_elsewhere, copy, share, titles) for share in shares]
        results = [future.result() for future in futures]
    return MaterializeResult(
        [one for result in results for one in result.made],
        [failure for result in results for failure in result.failures],
    )


def _share_elsewhere(copy: WorkingCopy, titles: Sequence[str], building: Sequence[str]) -> MaterializeResult:
    result = _share(copy, titles, building)
    # Only the texts are needed outside this process, and sending the documents as well would cost more.
    return MaterializeResult(
        [Materialized(one.title, one.version, {}, one.texts) for one in result.made], result.failures
    )


def _share(copy: WorkingCopy, titles: Sequence[str], building: Sequence[str]) -> MaterializeResult:
    materializer = Materializer(copy, building)
    made: list[Materialized] = []
    failures: list[tuple[str, HeadwaterError]] = []
    for title in titles:
        try:
            one = materializer.folder(copy.folder(title))
            # A version is permanent: a file that is not a schema must not become one.
            where = f"{title}/{copy.settings.current_file}"
            check_against_metaschema(one.document, dialect_of(one.document, where), where)
            made.append(one)
        except HeadwaterError as error:
            failures.append((title, error))
    return MaterializeResult(made, failures)
