"""All checks of a project before it is started: one list, for `check`, `up` and `demo`.

To add one: write a function that yields a Problem for each fault, and give it a row here. Everything else follows from
the row: `headwater check` and `headwater up` run it, and docs/reference/checks.md lists it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from headwater.checking import jobs, places, served, settings, sinks, sources, streams, tables, topics
from headwater.checking.problem import Problem, problem_of, relative
from headwater.checking.project import Project, Watch, read_project
from headwater.checking.schemas import rules_of_repositories
from headwater.config import Config, load_config
from headwater.errors import ConfigInvalid
from headwater.finding import Severity

# The rule whose warnings a start prints in full.
OPEN_TO_STRANGERS = "open-to-strangers"


@dataclass(frozen=True, slots=True)
class Question:
    """One check of a project. `id` is stable; the problems that `ask` yields get it and the severity."""

    id: str
    severity: Severity
    meaning: str
    ask: Callable[[Project], Iterator[Problem]]


QUESTIONS: Sequence[Question] = (
    Question(
        "directory-missing",
        Severity.ERROR,
        "A configured directory of schemas, streams or jobs does not exist.",
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
        "`log.kafka` has an option that the Kafka client does not know, or that would violate a guarantee of the log.",
        settings.kafka_options_are_taken,
    ),
    Question(
        "canary-keys-refused",
        Severity.ERROR,
        "`monitoring.canary_keys` has an invalid URL of an intake, or a key in plain text instead of a reference.",
        settings.canary_keys_are_references,
    ),
    Question(
        "copies-impossible",
        Severity.ERROR,
        "More replicas on Kafka must acknowledge an event than a topic has.",
        settings.copies_fit,
    ),
    Question(
        "tables-impossible",
        Severity.ERROR,
        "Jobs fill tables, but `jobs.tables_path` does not name a supported and installed database.",
        settings.tables_can_be_kept,
    ),
    Question(
        "state-impossible",
        Severity.ERROR,
        "The log is on Kafka, and `jobs.state_path` is not a directory.",
        settings.state_can_be_kept,
    ),
    Question(
        "spool-impossible",
        Severity.ERROR,
        "`intake.hasty_spool_path` is not a directory.",
        settings.spool_can_be_kept,
    ),
    Question(
        "keys-damaged",
        Severity.WARNING,
        "The file of API keys cannot be read, or an entry is not a valid key.",
        settings.keys_can_be_read,
    ),
    Question(
        "keys-missing",
        Severity.WARNING,
        "`consumption.keys` or `intake.keys` is `required`, but no API key has the required scope.",
        settings.required_keys_exist,
    ),
    Question(
        OPEN_TO_STRANGERS,
        Severity.WARNING,
        "The platform listens on a public address without requiring an API key. `up` prints this warning in full.",
        settings.strangers_are_kept_out,
    ),
    Question(
        "sink-path-undeclared",
        Severity.ERROR,
        "The key, the version, `delete_when` or an option of a sink names a field that no schema declares.",
        sinks.paths_are_declared,
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
        "sink-deletes-nothing",
        Severity.ERROR,
        "The `delete_when` of a sink waits for a value that its field cannot have.",
        sinks.deletions_can_happen,
    ),
    Question(
        "source-field-undeclared",
        Severity.ERROR,
        "A source is to fill a field that no schema of its stream declares.",
        sources.fields_filled_are_declared,
    ),
    Question(
        "source-stream-closed",
        Severity.ERROR,
        "A source is to write a stream that accepts no events from outside.",
        sources.streams_accept_events,
    ),
    Question(
        "source-schema-unknown",
        Severity.ERROR,
        "The `schema` of a source does not exist, or is none of its stream.",
        sources.schemas_are_those_of_streams,
    ),
    Question(
        "place-impossible",
        Severity.ERROR,
        "The path of the log, the tables, the state of jobs, the spool or the API keys cannot be created.",
        places.places_can_be_made,
    ),
    Question(
        "files-collide",
        Severity.ERROR,
        "Two of the log, the tables, the state of jobs, the API keys and the spool have the same path.",
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
        "A topic on SQLite has more partitions than are possible.",
        topics.partitions_within_limits,
    ),
    Question(
        "retention-limit",
        Severity.ERROR,
        "The retention of a stream is zero, or more time or bytes than a log can count.",
        topics.retention_within_limits,
    ),
    Question(
        "topic-name",
        Severity.ERROR,
        "The name of a topic is invalid: too long or, on Kafka, with characters that are not allowed.",
        topics.names_fit_the_log,
    ),
    Question(
        "topics-collide",
        Severity.ERROR,
        "The names of two topics on Kafka differ only in dots and underscores.",
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
        "The field of `event_time` has a type that is not a date-time, such as a number.",
        streams.event_times_can_be_times,
    ),
    Question(
        "event-time-format",
        Severity.WARNING,
        "The field of `event_time` is a text, but no version declares it as `date-time`.",
        streams.event_times_are_date_times,
    ),
    Question(
        "titles-differ-in-case",
        Severity.WARNING,
        "The titles of two schemas differ only in case.",
        streams.titles_differ,
    ),
    Question(
        "error-stream-schema",
        Severity.ERROR,
        "A declared error stream has a schema title other than `error`.",
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
        "The schema of a job's output does not exist, or not in the version that the job names.",
        jobs.outputs_have_a_schema,
    ),
    Question(
        "job-output-disabled",
        Severity.ERROR,
        "A job writes to a stream whose producers are disabled.",
        jobs.outputs_are_taken,
    ),
    Question(
        "job-late-schema",
        Severity.ERROR,
        "A job sends late events to a stream with another schema title.",
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
        "A job's window sums a field that is not a number.",
        jobs.fields_added_up_can_be,
    ),
    Question(
        "jobs-in-a-circle",
        Severity.WARNING,
        "Jobs read each other's streams in a cycle.",
        jobs.no_circle,
    ),
    Question(
        "jobs-differ-in-case",
        Severity.ERROR,
        "The names of two jobs differ only in case.",
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
        "A column has a type that cannot hold any of its field's values.",
        tables.columns_have_a_fitting_type,
    ),
    Question(
        "table-column-partly",
        Severity.WARNING,
        "A column has a type that can hold only some of its field's values.",
        tables.columns_take_all_values,
    ),
    Question(
        "tables-differ-in-case",
        Severity.ERROR,
        "The names of two tables, or of two columns of one, differ only in case.",
        tables.names_differ,
    ),
    Question(
        "table-name-reserved",
        Severity.ERROR,
        "The name of a table is reserved by the database.",
        tables.names_are_free,
    ),
    Question(
        "table-elsewhere",
        Severity.WARNING,
        "A job that machines share (`jobs.shared`) reads a materialized table, which is on one of them.",
        tables.tables_are_where_they_are_read,
    ),
    Question(
        "served-range-type",
        Severity.ERROR,
        "A served table has a range of a field whose type is not known, or has no order.",
        served.ranges_have_an_order,
    ),
    Question(
        "served-audit-refused",
        Severity.ERROR,
        "The audit of a served table goes to a stream that is not declared, or does not accept it.",
        served.audits_are_accepted,
    ),
    Question(
        "private-in-public",
        Severity.ERROR,
        "A job that reads a private stream sends its late events to a public stream.",
        streams.late_events_stay_private,
    ),
    Question(
        "private-derived",
        Severity.WARNING,
        "A stream that is declared public is filled by a job from a private stream.",
        streams.outputs_stay_private,
    ),
)

# The rules of reading a project, and their meanings.
READING: Sequence[tuple[str, str]] = (
    ("settings-invalid", "`headwater.yaml`, or a variable that overrides it, is invalid."),
    ("stream-file-invalid", "A stream file cannot be read, or its declaration is invalid."),
    ("schema-invalid", "A schema cannot be read or compiled."),
    ("job-file-invalid", "A job file cannot be loaded, or declares an invalid job."),
    ("job-settings-invalid", "`jobs.settings` names a job or a setting that does not exist, or an invalid value."),
    ("sink-invalid", "A sink of a stream file names no known connector, or has an option that cannot be."),
    ("served-table-invalid", "The file of a served table names no `@table`, or has an option that cannot be."),
    ("source-invalid", "The file of a source names no known connector, or has an option that cannot be."),
)


@dataclass(frozen=True, slots=True)
class Report:
    """The findings, in the order of the checks; `project` is None if the settings cannot be read."""

    problems: Sequence[Problem]
    project: Project | None = field(default=None, repr=False)

    @property
    def errors(self) -> Sequence[Problem]:
        return [problem for problem in self.problems if problem.severity == Severity.ERROR]

    @property
    def warnings(self) -> Sequence[Problem]:
        return [problem for problem in self.problems if problem.severity == Severity.WARNING]


def check_settings(directory: Path, watch: Watch = iter) -> Report:
    """All problems of the project in `directory`, including its settings."""
    try:
        config = load_config(directory)
    except ConfigInvalid as error:
        problem = problem_of(error, "settings-invalid")
        return Report([dataclasses.replace(problem, file=relative(problem.file, directory))])
    return check_project(config, watch)


def check_project(config: Config, watch: Watch = iter) -> Report:
    """All problems of a project with these settings that can be found without running it."""
    project = read_project(config, watch)
    of_rules = list(rules_of_repositories(project))
    found = [*_said_once(project.unread, of_rules), *_answers(project), *of_rules, *streams.lint_rules(project)]
    return Report([_placed(problem, config.project_dir) for problem in found], project)


def _said_once(unread: Sequence[Problem], of_rules: Sequence[Problem]) -> list[Problem]:
    """What could not be read, except schemas that the schema rules report, too: those know the line."""
    reported = {problem.file for problem in of_rules if problem.severity == Severity.ERROR and problem.line}
    return [problem for problem in unread if problem.rule != "schema-invalid" or problem.file not in reported]


def _answers(project: Project) -> Iterator[Problem]:
    for question in QUESTIONS:
        for problem in question.ask(project):
            yield dataclasses.replace(problem, rule=question.id, severity=question.severity)


def _placed(problem: Problem, directory: Path) -> Problem:
    return dataclasses.replace(problem, file=relative(problem.file, directory))
