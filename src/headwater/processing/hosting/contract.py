"""What a platform knows of its jobs, wherever they run: in its own process, or in processes of theirs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

from headwater.connectors.tables import TableView
from headwater.errors import HeadwaterError
from headwater.jobs.job import Job
from headwater.processing.control import JobControl
from headwater.processing.status import JobReport


class JobHost(Protocol):
    """One job, as the pages and the API of a platform see it."""

    @property
    def job(self) -> Job: ...

    @property
    def control(self) -> JobControl | None:
        """What people ask of the job; None: nothing."""
        ...

    def report(self) -> JobReport:
        """The current status, or the last one known if the job runs elsewhere."""
        ...

    def look(self) -> None:
        """Look now at what was asked of the job."""
        ...


class Hosting(Protocol):
    """All jobs of a platform. Belongs to one event loop; `start` once, after the log has been opened, then `stop`.

    Every implementation passes `headwater.testing.suites.hosting`.
    """

    @property
    def jobs(self) -> Mapping[str, JobHost]:
        """The jobs by name."""
        ...

    async def start(
        self,
        damaged: Mapping[str, HeadwaterError],
        *,
        only_shared: bool = False,
        elsewhere: Collection[str] = (),
    ) -> None:
        """Start the jobs. Those in `damaged` are reported as failed instead, with this error.

        `only_shared`: only those whose partitions this process shares with others. `elsewhere`: the names of jobs that
        another process runs. Those that are not started for one of these reasons are reported as `elsewhere`.
        """
        ...

    async def stop(self) -> None:
        """Let each job commit its current batch, and stop all of them; nothing is lost. Idempotent."""
        ...

    async def finish(self) -> None:
        """Stop, then let each job process its input to the end, in the order of flow, and emit its open windows.

        Raises what a job's runner raises.
        """
        ...

    async def views(self, rows_max: int) -> list[TableView]:
        """The tables that the jobs fill, without those not open yet, with at most `rows_max` rows each."""
        ...

    async def measure(self) -> None:
        """Bring the metrics of jobs up to date that are measured elsewhere."""
        ...
