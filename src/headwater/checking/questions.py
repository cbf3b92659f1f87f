"""Every question that is asked of a project before it is started: the one list, for `check`, `up` and `demo`.

To add one: write a function that yields a Problem for each thing that is wrong, and give it a row here. Everything else
follows from the row: it is asked by `headwater check` and `headwater up`, and stands in docs/reference/checks.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from headwater.checking import jobs, places, settings, sinks, streams, tables, topics
from headwater.checking.problem import Problem, problem_of, relative
from headwater.checking.project import Project, Watch, read_project
from headwater.checking.schemas import rules_of_repositories
from headwater.config import Config, load_config
from headwater.errors import ConfigInvalid
from headwater.finding import Severity

# The rule of what a start prints in full.
OPEN_TO_STRANGERS = "open-to-strangers"


@dataclass(frozen=True, slots=True)
class Question:
    """One thing that is asked of a project. `id` is stable; the problems that `ask` yields get it and the severity."""

    id: str
    severity: Severity
    meaning: str
    ask: Callable[[Project], Iterator[Problem]]


QUESTIONS: Sequence[Question] = (
    Question(
        "directory-missing",
        Severity.ERROR,
        "A directory of schemas, streams or jobs that the settings name is not there.",
        settings.directories_exist,
    ),
    Question(
        "log-impossible",
        Severity.ERROR,
        "The log's URL names no broker or no file, or its client is not installed.",
        settings.log_can_be_opened,
    ),
    Question(
        "kafka-option-refused",
        Severity.ERROR,
        "`log.kafka` has an option that the Kafka client does not know, or that would break a promise of the log.",
        settings.kafka_options_are_taken,
    ),
    Question(
        "canary-keys-refused",
        Severity.ERROR,
        "`monitoring.canary_keys` names what is no address of an intake, or has a key itself and not where it is.",
        settings.canary_keys_are_references,
    ),
    Question(
        "copies-impossible",
        Severity.ERROR,
        "More copies on Kafka must have an event than a topic has.",
        settings.copies_fit,
    ),
    Question(
        "tables-impossible",
        Severity.ERROR,
        "`jobs.tables_path` names no database that is known and installed, and jobs fill tables.",
        settings.tables_can_be_kept,
    ),
    Question(
        "state-impossible",
        Severity.ERROR,
        "`jobs.state_path` is no directory, and the log is on Kafka.",
        settings.state_can_be_kept,
    ),
    Question(
        "spool-impossible",
        Severity.ERROR,
        "`intake.hasty_spool_path` is no directory.",
        settings.spool_can_be_kept,
    ),
    Question(
        "keys-damaged",
        Severity.WARNING,
        "The file of API keys cannot be read, or an entry of it is no key.",
        settings.keys_can_be_read,
    ),
    Question(
        "keys-missing",
        Severity.WARNING,
        "`consumption.keys` or `intake.keys` is `required`, and there is no API key with the scope for it.",
        settings.required_keys_exist,
    ),
    Question(
        OPEN_TO_STRANGERS,
        Severity.WARNING,
        "The platform listens on an address that others reach, and asks them for no API key. `up` prints it in full.",
        settings.strangers_are_kept_out,
    ),
    Question(
        "sink-file-impossible",
        Severity.ERROR,
        "The file that a sink is to fill is a directory, or cannot be made.",
        sinks.files_can_be_made,
    ),
    Question(
        "sink-file-collides",
        Severity.ERROR,
        "A sink is to fill a file in which something else is kept, or two kinds of database are to be one file.",
        sinks.files_are_databases_of_their_own,
    ),
    Question(
        "place-impossible",
        Severity.ERROR,
        "The log, the tables, the state of jobs, the spool or the API keys are to be where nothing can be made.",
        places.places_can_be_made,
    ),
    Question(
        "files-collide",
        Severity.ERROR,
        "Two of the log, the tables, the state of jobs, the API keys and the spool are one place.",
        settings.files_differ,
    ),
    Question(
        "readable-stream-unknown",
        Severity.WARNING,
        "`consumption` names a stream that is not declared.",
        settings.readable_streams_exist,
    ),
    Question(
        "partitions-limit",
        Severity.ERROR,
        "A topic on SQLite has more partitions than there can be.",
        topics.partitions_within_limits,
    ),
    Question(
        "retention-limit",
        Severity.ERROR,
        "A stream keeps its events for no time, or for more time or bytes than a log can count.",
        topics.retention_within_limits,
    ),
    Question(
        "topic-name",
        Severity.ERROR,
        "A topic has a name that the log does not take: too long or, on Kafka, other characters.",
        topics.names_fit_the_log,
    ),
    Question(
        "topics-collide",
        Severity.ERROR,
        "Two topics on Kafka differ in dots and underscores only.",
        topics.names_stay_apart_on_kafka,
    ),
    Question(
        "event-time-undeclared",
        Severity.ERROR,
        "No version of the stream's schema declares the field of `event_time`.",
        streams.event_times_are_declared,
    ),
    Question(
        "event-time-type",
        Severity.ERROR,
        "The field of `event_time` is a number or something else that is no date-time.",
        streams.event_times_can_be_times,
    ),
    Question(
        "event-time-format",
        Severity.WARNING,
        "The field of `event_time` is a text that no version declares to be a `date-time`.",
        streams.event_times_are_date_times,
    ),
    Question(
        "titles-differ-in-case",
        Severity.WARNING,
        "Two titles of schemas differ in capital letters only.",
        streams.titles_differ,
    ),
    Question(
        "error-stream-schema",
        Severity.ERROR,
        "A declared stream of error events has another schema title than `error`.",
        jobs.error_streams_take_errors,
    ),
    Question(
        "job-stream-undeclared",
        Severity.ERROR,
        "A job reads, writes or sends late events to a stream that is not declared.",
        jobs.streams_are_declared,
    ),
    Question(
        "job-output-schema",
        Severity.ERROR,
        "The schema of a job's output is not there, or not in the version that it names.",
        jobs.outputs_have_a_schema,
    ),
    Question(
        "job-output-disabled",
        Severity.ERROR,
        "A job writes a stream whose producers are switched off.",
        jobs.outputs_are_taken,
    ),
    Question(
        "job-late-schema",
        Severity.ERROR,
        "A job sends late events to a stream with another schema title than their own.",
        jobs.late_events_fit_their_stream,
    ),
    Question(
        "job-field-undeclared",
        Severity.ERROR,
        "A job's key or window names a field that no schema of its sources declares.",
        jobs.fields_read_are_declared,
    ),
    Question(
        "job-field-type",
        Severity.ERROR,
        "A job's window adds up a field of a type that has no values to add up.",
        jobs.fields_added_up_can_be,
    ),
    Question(
        "jobs-in-a-circle",
        Severity.WARNING,
        "Jobs read each other's streams in a circle.",
        jobs.no_circle,
    ),
    Question(
        "jobs-differ-in-case",
        Severity.ERROR,
        "Two jobs' names differ in capital letters only.",
        jobs.names_differ,
    ),
    Question(
        "table-column-undeclared",
        Severity.ERROR,
        "A column is filled from a field that no schema of the sources declares.",
        tables.columns_are_declared,
    ),
    Question(
        "table-column-type",
        Severity.ERROR,
        "A column has a type that takes none of its field's values.",
        tables.columns_have_a_fitting_type,
    ),
    Question(
        "table-column-partly",
        Severity.WARNING,
        "A column has a type that takes some of its field's values only.",
        tables.columns_take_all_values,
    ),
    Question(
        "tables-differ-in-case",
        Severity.ERROR,
        "Two tables, or two columns of one, differ in capital letters only.",
        tables.names_differ,
    ),
    Question(
        "table-name-reserved",
        Severity.ERROR,
        "A table has a name that the database keeps for itself.",
        tables.names_are_free,
    ),
    Question(
        "private-in-public",
        Severity.ERROR,
        "A job that reads a private stream puts its late events into a stream that is public.",
        streams.late_events_stay_private,
    ),
    Question(
        "private-derived",
        Severity.WARNING,
        "A stream whose file says public is filled by a job from a private one.",
        streams.outputs_stay_private,
    ),
)

# What reading a project finds by itself: the rule, and what it means.
READING: Sequence[tuple[str, str]] = (
    ("settings-invalid", "`headwater.yaml`, or a variable that overrides it, says something that cannot be."),
    ("stream-file-invalid", "A stream file cannot be read, or declares a stream that cannot be."),
    ("schema-invalid", "A schema cannot be read or compiled."),
    ("job-file-invalid", "A file of jobs cannot be loaded, or describes a job that cannot be."),
    ("sink-invalid", "A sink of a stream file names no known connector, or has an option that cannot be."),
)


@dataclass(frozen=True, slots=True)
class Report:
    """What was found, in the order of the questions; `project` is None where the settings cannot be read."""

    problems: Sequence[Problem]
    project: Project | None = field(default=None, repr=False)

    @property
    def errors(self) -> Sequence[Problem]:
        return [problem for problem in self.problems if problem.severity == Severity.ERROR]

    @property
    def warnings(self) -> Sequence[Problem]:
        return [problem for problem in self.problems if problem.severity == Severity.WARNING]


def check_settings(directory: Path, watch: Watch = iter) -> Report:
    """Everything that is wrong with the project in `directory`, its settings among it."""
    try:
        config = load_config(directory)
    except ConfigInvalid as error:
        problem = problem_of(error, "settings-invalid")
        return Report([dataclasses.replace(problem, file=relative(problem.file, directory))])
    return check_project(config, watch)


def check_project(config: Config, watch: Watch = iter) -> Report:
    """Everything that is wrong with a project of these settings, as far as it shows without running it."""
    project = read_project(config, watch)
    of_rules = list(rules_of_repositories(project))
    found = [*_said_once(project.unread, of_rules), *_answers(project), *of_rules, *streams.lint_rules(project)]
    return Report([_placed(problem, config.project_dir) for problem in found], project)


def _said_once(unread: Sequence[Problem], of_rules: Sequence[Problem]) -> list[Problem]:
    """What could not be read, without schemas that the rules find at fault too: they know the line."""
    told = {problem.file for problem in of_rules if problem.severity == Severity.ERROR and problem.line}
    return [problem for problem in unread if problem.rule != "schema-invalid" or problem.file not in told]


def _answers(project: Project) -> Iterator[Problem]:
    for question in QUESTIONS:
        for problem in question.ask(project):
            yield dataclasses.replace(problem, rule=question.id, severity=question.severity)


def _placed(problem: Problem, directory: Path) -> Problem:
    return dataclasses.replace(problem, file=relative(problem.file, directory))
