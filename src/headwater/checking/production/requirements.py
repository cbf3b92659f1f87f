"""The checklist of production: one list, for `headwater check --production` and docs/reference/checks.md.

To add a requirement: write a function that yields a Problem for each place where it is not met, and give it a row here.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from headwater.checking.problem import Problem, problem_of, relative
from headwater.checking.production import data, platform, work
from headwater.checking.production.statements import Asked, read_statements
from headwater.checking.project import Project
from headwater.errors import ConfigInvalid
from headwater.finding import Severity

STATEMENTS_INVALID = "production-file-invalid"


@dataclass(frozen=True, slots=True)
class Requirement:
    """One requirement: what has to be so, and why. An error keeps a project out of production; a warning does not."""

    id: str
    severity: Severity
    meaning: str
    why: str
    ask: Callable[[Asked], Iterator[Problem]]


REQUIREMENTS: Sequence[Requirement] = (
    Requirement(
        "production-keys",
        Severity.ERROR,
        "Clients need an API key to send and to read, or a proxy authenticates them.",
        "Anyone in the network could otherwise send events that jobs believe, or read those of others.",
        platform.keys_are_required,
    ),
    Requirement(
        "production-encryption",
        Severity.ERROR,
        "The platform listens on its own machine only, or behind a proxy with TLS.",
        "Headwater speaks HTTP; a key that crosses a network unencrypted is everybody's.",
        platform.requests_are_encrypted,
    ),
    Requirement(
        "production-secrets",
        Severity.ERROR,
        "`headwater.yaml` contains no secret, only references.",
        "The file is in a repository, and what was committed once is known for ever.",
        platform.secrets_are_references,
    ),
    Requirement(
        "production-durability",
        Severity.ERROR,
        "Acknowledged events are on disk (`fsync`), or on three machines of which two must have them.",
        "Producers forget what was acknowledged; nobody else has it then.",
        platform.acknowledged_events_survive,
    ),
    Requirement(
        "production-backup",
        Severity.ERROR,
        "A log in a file is backed up, and a backup was restored within a year.",
        "One disk is one failure away from nothing, and a backup that nobody restored is a hope.",
        platform.the_log_can_be_restored,
    ),
    Requirement(
        "production-brokers-encrypted",
        Severity.WARNING,
        "Connections to brokers on other machines are encrypted.",
        "Events, and the passwords of the brokers, can otherwise be read in the network.",
        platform.brokers_are_reached_encrypted,
    ),
    Requirement(
        "production-spool",
        Severity.WARNING,
        "Fire-and-forget events are kept on disk while the log does not answer.",
        "Browsers do not send them again.",
        platform.fire_and_forget_survives_an_outage,
    ),
    Requirement(
        "production-owners",
        Severity.ERROR,
        "Each stream has an owner and a summary.",
        "Alerts are routed by the owner, and who finds a stream has to know whom to ask.",
        data.streams_have_owners,
    ),
    Requirement(
        "production-audience",
        Severity.ERROR,
        "Each stream says who may see it.",
        "Without a privacy class a stream is public, which nobody may have meant.",
        data.streams_have_audiences,
    ),
    Requirement(
        "production-retention",
        Severity.ERROR,
        "Each stream declares how long it keeps events.",
        "It decides how far back a job can be repaired, how large the disk is, and what privacy rules allow.",
        data.streams_declare_retention,
    ),
    Requirement(
        "production-error-streams",
        Severity.ERROR,
        "The error streams of the intake and of all jobs are declared.",
        "They hold whole events of others, and are the only copy of what failed: they need an owner and a retention.",
        data.error_streams_are_declared,
    ),
    Requirement(
        "production-schemas",
        Severity.ERROR,
        "Each version of a schema reads the events of earlier ones, and fits into their tables.",
        "Events of all versions are in the log, and are read together.",
        data.versions_fit_each_other,
    ),
    Requirement(
        "production-canaries",
        Severity.ERROR,
        "Each stream that takes events of producers has canaries.",
        "A stream without events is otherwise the same as a broken one.",
        data.canaries_cover_what_comes_in,
    ),
    Requirement(
        "production-monitoring",
        Severity.ERROR,
        "Canaries and counts are on, and something scrapes the metrics.",
        "Users notice it first otherwise.",
        platform.the_platform_is_monitored,
    ),
    Requirement(
        "production-alerts",
        Severity.ERROR,
        "Prometheus loads the alert rules of the streams as they are declared now, and alerts go somewhere.",
        "Rules that were exported before the last change do not know the newest streams.",
        platform.alerts_are_loaded,
    ),
    Requirement(
        "production-people",
        Severity.ERROR,
        "It is stated who runs the platform and who is called.",
        "An alert without a reader changes nothing.",
        platform.people_can_be_reached,
    ),
    Requirement(
        "production-capacity",
        Severity.ERROR,
        "How many events per second it takes was measured within a year, where it runs.",
        "The day on which it is not enough should be known before it comes.",
        platform.the_capacity_is_known,
    ),
    Requirement(
        "production-tests",
        Severity.ERROR,
        "A test in `tests/` names each job.",
        "Who changes a job later has to know what it was meant to do.",
        work.jobs_have_tests,
    ),
    Requirement(
        "production-runbooks",
        Severity.ERROR,
        "Each job has a page in `runbooks/`.",
        "Who is called at night did not write the job.",
        work.jobs_have_runbooks,
    ),
    Requirement(
        "production-guarantees",
        Severity.ERROR,
        "Where results may be written twice, this is chosen: `flink.guarantee`, keys of sinks.",
        "After a crash a batch is written again, and a sum of rows is then wrong without an error.",
        work.guarantees_are_chosen,
    ),
    Requirement(
        "production-isolation",
        Severity.WARNING,
        "Jobs run in processes of their own, with a limit of memory.",
        "A job that blocks, leaks or crashes must not keep events from being accepted.",
        work.the_intake_is_protected,
    ),
    Requirement(
        "production-contact",
        Severity.WARNING,
        "Jobs that ask other services name a contact.",
        "Who runs such a service blocks clients that it cannot write to.",
        work.services_know_who_asks,
    ),
    Requirement(
        "production-drills",
        Severity.ERROR,
        "A job was run over history, and failed events were processed again, within a year.",
        "The first time should not be the day on which it matters.",
        work.repairs_were_tried,
    ),
)


def missing(project: Project, today: datetime.date) -> list[Problem]:
    """Where the project does not meet the requirements, in their order, each with why it matters."""
    directory = project.config.project_dir
    try:
        statements, written = read_statements(directory)
    except ConfigInvalid as error:
        return [dataclasses.replace(problem_of(error, STATEMENTS_INVALID), why="Nothing else can be checked.")]
    asked = Asked(project, statements, written, today)
    return [
        dataclasses.replace(
            problem,
            file=relative(problem.file, directory),
            rule=one.id,
            severity=one.severity,
            why=one.why,
        )
        for one in REQUIREMENTS
        for problem in one.ask(asked)
    ]
