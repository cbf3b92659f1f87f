"""Which tests prove each line of the table of semantics in docs/reference/jobs.md, in each place where jobs run.

A test is named by file and function, or `file::Class::function`, also one that the class inherits from a suite.
"""

from __future__ import annotations

from typing import NamedTuple


class Line(NamedTuple):
    """The tests of one line: on SQLite, on Kafka, and over history; a text says why it does not apply there."""

    sqlite: tuple[str, ...] | str
    kafka: tuple[str, ...] | str
    batch: tuple[str, ...] | str


AGREE = "tests/semantics/test_places_agree.py::"
AGREES = f"{AGREE}test_a_job_writes_the_same_events_with_the_same_ids_in_the_same_order"
ON_ERROR = "tests/semantics/test_on_error.py::"
EACH = "tests/semantics/test_each_place.py::"
RUNNERS = "tests/contract/test_runners.py::"
ON_SQLITE = f"{RUNNERS}TestEmbeddedRunnerOnSqlite::"
ON_OUTBOX = f"{RUNNERS}TestEmbeddedRunnerWithOutbox::"
ON_BROKERS = f"{RUNNERS}TestEmbeddedRunnerOnBrokers::"
STORES = "tests/contract/test_job_stores.py::"
LOGS = "tests/contract/test_log_contract.py::"
TIMES = (
    "tests/semantics/test_times_of_records.py"
    "::test_the_time_of_a_record_is_that_of_its_receipt_and_the_events_own_time_is_beside_it"
)
OBSERVED = "tests/end_to_end/test_job_measures.py::"
EMBEDDED = "tests/unit/processing/embedded/"
FAILURES = "tests/unit/processing/failures/"
OPERATORS = "tests/unit/jobs/operators/"
PARKED = f"{EACH}test_a_parked_event_is_overtaken_and_after_its_last_park_it_is_an_error_event"
STATE = "tests/unit/jobs/test_state.py::"
HISTORY = "tests/property/test_history.py::"
JOB_RUN = "tests/end_to_end/test_job_run.py::"
KAFKA_JOBS = "tests/end_to_end/test_kafka_jobs.py::"
SHARED_JOBS = "tests/end_to_end/test_shared_jobs.py::"
LIVE_ONLY = "the input of a run over history has an end, and is there before it begins"


def everywhere(*tests: str) -> Line:
    """Tests of what is the same in each place, or that have a case for each."""
    return Line(tests, tests, tests)


LINES: dict[str, Line] = {
    "delivery": Line(
        (
            "tests/end_to_end/test_job_kill.py::test_counts_and_states_are_exact_whenever_the_process_is_killed",
            f"{STORES}TestLogStoreOnSqlite::test_a_commit_that_fails_leaves_nothing",
        ),
        (
            f"{KAFKA_JOBS}test_nothing_is_lost_or_repeated_at_whatever_point_the_process_dies",
            f"{STORES}TestOutboxStore::test_a_commit_that_fails_leaves_nothing",
        ),
        (f"{JOB_RUN}test_a_killed_run_resumes_and_ends_as_one_that_was_not_killed",),
    ),
    "outbox": Line(
        "its log keeps state itself",
        (
            f"{KAFKA_JOBS}test_nothing_is_lost_or_repeated_at_whatever_point_the_process_dies",
            f"{KAFKA_JOBS}test_a_state_that_does_not_fit_the_log_is_refused_and_the_right_one_resumes",
            f"{KAFKA_JOBS}test_a_state_is_used_by_one_process_and_the_next_takes_over_when_that_has_ended",
        ),
        "it writes no log until it has ended",
    ),
    "ids": Line(
        (AGREES, "tests/property/test_derived_ids.py::test_an_id_is_the_name_based_uuid_of_job_stream_and_cause"),
        (AGREES,),
        (AGREES, f"{JOB_RUN}test_a_run_is_repeated_as_often_as_one_likes_with_the_same_ids"),
    ),
    "other services": everywhere(
        AGREES,
        "tests/unit/jobs/test_context.py::test_the_idempotency_key_is_that_of_job_and_input_in_every_attempt",
        "tests/contract/test_sink_tables.py::TestSqliteSink::test_a_kill_between_write_and_commit_leaves_the_same_rows",
        "tests/contract/test_sink_tables.py::TestSqliteSink"
        "::test_the_newest_version_wins_in_whatever_order_and_however_often_events_come",
    ),
    "order": Line(
        (
            AGREES,
            f"{ON_SQLITE}test_calls_that_fail_for_a_while_are_made_again_and_their_key_keeps_its_order",
            "tests/property/test_await_order.py"
            "::test_each_key_has_the_same_output_in_order_whatever_order_the_calls_end_in",
            f"{EMBEDDED}test_parking.py::test_without_hold_key_later_events_of_the_key_overtake_a_parked_one",
        ),
        (AGREES, f"{ON_OUTBOX}test_calls_that_fail_for_a_while_are_made_again_and_their_key_keeps_its_order"),
        (AGREES, f"{HISTORY}test_history_equals_a_live_run_on_input_in_order"),
    ),
    "order of streams": everywhere(
        AGREES,
        f"{OPERATORS}test_reorder.py::test_a_direct_successor_passes_at_once_unless_others_are_held",
        f"{OPERATORS}test_reorder.py::test_an_event_older_than_what_was_passed_on_is_late",
        "tests/property/test_holding_operators_against_oracles.py"
        "::test_reordered_events_are_in_order_of_field_and_time",
    ),
    "event time": Line(
        ("tests/end_to_end/test_clock_ahead.py::test_events_of_the_present_are_on_time_after_one_from_later",),
        (
            "tests/end_to_end/test_clock_ahead.py::test_events_of_the_present_are_on_time_after_one_from_later",
            "tests/end_to_end/test_clock_ahead.py"
            "::test_records_that_another_program_dates_in_the_future_make_no_event_late",
        ),
        (f"{HISTORY}test_the_order_of_the_file_and_the_bounds_of_memory_do_not_matter",),
    ),
    "time of records": Line(
        (
            f"{LOGS}TestSqliteLog::test_a_time_that_a_record_comes_with_is_kept",
            f"{LOGS}TestSqliteLog::test_retention_by_age_removes_what_is_older_and_nothing_else",
            f"{LOGS}TestSqliteLog::test_seeking_a_time_finds_the_first_record_received_then",
            TIMES,
        ),
        (
            f"{LOGS}TestOracleKafkaLog::test_seeking_a_time_finds_the_first_record_received_then",
            TIMES,
        ),
        "files have no time of receipt",
    ),
    "watermark": Line(
        (
            f"{OPERATORS}test_windows.py::test_the_slowest_partition_holds_the_watermark",
            "tests/property/test_windows_against_oracles.py"
            "::test_windows_are_those_of_plain_python_in_any_order_of_partitions",
        ),
        (AGREES, f"{ON_OUTBOX}test_timers_fire_though_no_event_comes"),
        (f"{HISTORY}test_in_order_of_arrival_an_event_is_late_as_if_events_were_read_one_by_one",),
    ),
    "idleness": Line(
        (
            f"{OPERATORS}test_windows.py::test_a_quiet_source_lets_windows_close_by_the_clock_and_makes_nothing_late",
            f"{ON_SQLITE}test_timers_fire_though_no_event_comes",
        ),
        (f"{ON_OUTBOX}test_timers_fire_though_no_event_comes",),
        LIVE_ONLY,
    ),
    "end of the input": everywhere(
        AGREES,
        f"{OPERATORS}test_windows.py::test_at_the_end_of_the_input_every_window_is_emitted_and_nothing_was_late",
        f"{EACH}test_at_the_end_of_the_input_timers_fire_and_over_history_those_that_they_set",
    ),
    "late events": everywhere(
        AGREES,
        f"{EACH}test_an_event_within_the_bound_is_never_late_and_one_beyond_it_is_sent_to_the_late_stream_or_counted",
    ),
    "timers": Line(
        (
            AGREES,
            f"{EMBEDDED}test_loop.py::test_timers_fire_once_in_order_and_can_be_replaced_and_cancelled",
            "tests/unit/jobs/test_context.py::test_timers_are_set_replaced_and_cancelled_by_name",
        ),
        (AGREES, f"{ON_OUTBOX}test_timers_fire_though_no_event_comes"),
        (
            AGREES,
            f"{HISTORY}test_a_timer_fires_before_a_later_event_of_its_key_however_long_a_batch_is",
            "tests/unit/jobs/test_context.py::test_over_history_a_timer_by_the_clock_is_one_in_event_time",
        ),
    ),
    "state": Line(
        (
            AGREES,
            f"{STATE}test_a_large_state_is_warned_of_once_and_one_that_is_too_large_is_an_error_event",
            f"{STATE}test_an_older_state_is_converted_when_it_is_read_and_stored_in_the_new_version",
            f"{STATE}test_an_expired_state_is_deleted_from_the_store_by_the_watermark_alone",
            f"{EMBEDDED}test_row_state.py::test_only_changed_rows_are_committed",
            f"{ON_SQLITE}test_state_continues_in_a_later_run_without_that_of_failed_functions",
        ),
        (
            AGREES,
            f"{ON_OUTBOX}test_state_continues_in_a_later_run_without_that_of_failed_functions",
            f"{STORES}TestOutboxStore::test_state_is_replaced_deleted_and_kept_apart_by_namespace",
        ),
        (
            AGREES,
            "tests/property/test_operators_over_history.py::test_history_gives_the_same_as_a_live_run_in_any_order",
        ),
    ),
    "back-pressure": Line(
        (
            f"{EMBEDDED}test_overlapping.py::test_not_more_is_read_than_may_be_in_flight",
            "tests/property/test_await_order.py::test_memory_is_bounded_over_a_backlog_fifty_times_the_window",
        ),
        (
            f"{EMBEDDED}test_overlapping.py"
            "::test_results_count_for_the_memory_in_flight_and_the_first_event_may_always_be_called",
        ),
        ("tests/unit/processing/batch/test_sorting.py::test_memory_is_bounded_on_input_many_times_the_bound",),
    ),
    "retries": everywhere(
        f"{EACH}test_each_failure_is_an_error_event_of_its_class_and_the_events_after_it_are_processed",
        AGREES,
        f"{EMBEDDED}test_overlapping.py::test_what_is_transient_is_retried_until_its_time_is_over",
        "tests/unit/jobs/test_outcomes.py::test_what_is_rejected_stays_rejected_even_if_all_exceptions_are_named",
    ),
    "parking": Line(
        (
            f"{EMBEDDED}test_parking.py::test_a_parked_event_leaves_the_window_and_is_tried_again_after_its_park",
            f"{EMBEDDED}test_parking.py::test_what_is_parked_is_still_there_after_a_restart",
            f"{EMBEDDED}test_parking.py::test_with_hold_key_later_events_of_the_key_follow_a_parked_one_in_order",
        ),
        (f"{EMBEDDED}test_parking.py::test_a_job_that_parks_is_refused_where_no_state_is_kept", PARKED),
        (PARKED, f"{EMBEDDED}test_parking.py::test_a_run_that_ends_tries_what_is_parked_at_once"),
    ),
    "failures": everywhere(
        f"{EACH}test_each_failure_is_an_error_event_of_its_class_and_the_events_after_it_are_processed",
        f"{FAILURES}test_error_events.py::test_the_original_is_recovered_byte_by_byte",
        f"{FAILURES}test_error_events.py"
        "::test_a_flood_of_one_cause_is_described_in_full_a_limited_number_of_times_and_nothing_is_lost",
    ),
    "`on_error`": everywhere(
        f"{ON_ERROR}test_with_stop_a_job_stops_in_front_of_an_event_and_continues_with_it_after_a_repair",
        f"{ON_ERROR}test_with_skip_an_event_that_fails_is_counted_and_leaves_nothing",
        f"{ON_ERROR}test_a_timer_that_fails_stops_the_job_and_fires_after_a_repair",
        f"{ON_ERROR}test_bytes_that_are_no_event_stop_a_job_or_are_skipped",
    ),
    "outages": Line(
        (f"{EMBEDDED}test_breaker.py::test_an_outage_makes_no_error_events_and_is_reported_until_it_is_over",),
        (f"{EMBEDDED}test_breaker.py::test_stopping_during_an_outage_leaves_the_events_to_the_next_run",),
        (f"{EMBEDDED}test_breaker.py::test_a_run_that_ends_does_so_during_an_outage_with_error_events",),
    ),
    "redrive": Line(
        (
            f"{FAILURES}test_redrive.py::test_after_a_repair_a_redrive_gives_the_outputs_of_a_run_that_never_failed",
            f"{FAILURES}test_redrive.py::test_who_redrove_what_when_and_how_is_in_the_log",
            "tests/end_to_end/test_redrive.py::test_a_killed_redrive_is_continued_while_the_platform_runs",
        ),
        ("tests/end_to_end/test_redrive.py::test_a_killed_redrive_is_continued_on_kafka",),
        "its errors are in a file, and the run is repeated after a repair",
    ),
    "restarts": Line(
        (
            f"{EMBEDDED}test_loop.py"
            "::test_a_log_that_stays_away_ends_the_run_and_a_supervisor_begins_again_from_what_is_committed",
            f"{EMBEDDED}test_overlapping.py::test_what_a_stopped_run_had_in_flight_is_begun_again",
            f"{ON_SQLITE}test_an_event_whose_code_cancels_the_run_does_not_keep_the_rest_from_going_on",
        ),
        (
            f"{ON_OUTBOX}test_an_event_whose_code_cancels_the_run_does_not_keep_the_rest_from_going_on",
            f"{KAFKA_JOBS}test_jobs_resume_exactly_when_a_paused_broker_continues",
        ),
        (f"{JOB_RUN}test_a_killed_run_resumes_and_ends_as_one_that_was_not_killed",),
    ),
    "processes": Line(
        (f"{ON_SQLITE}test_taking_over_what_nobody_has_loses_nothing",),
        (
            f"{ON_BROKERS}test_a_job_that_another_process_takes_over_counts_every_event_once",
            f"{SHARED_JOBS}test_processes_share_the_partitions_of_a_job_and_hand_them_over_as_they_come_and_leave",
        ),
        (f"{JOB_RUN}test_an_interrupted_run_of_something_else_is_not_resumed",),
    ),
    "history": Line(
        ("tests/end_to_end/test_job_hand_over.py::test_the_server_continues_without_a_gap_or_a_repeat",),
        ("tests/end_to_end/test_job_hand_over.py::test_the_server_continues_without_a_gap_or_a_repeat",),
        (
            f"{HISTORY}test_history_equals_a_live_run_on_input_in_order",
            f"{HISTORY}test_the_order_of_the_file_and_the_bounds_of_memory_do_not_matter",
            f"{JOB_RUN}test_a_killed_run_resumes_and_ends_as_one_that_was_not_killed",
        ),
    ),
    "rates": everywhere(
        AGREES,
        "tests/property/test_holding_operators_against_oracles.py::test_a_rate_is_exact_in_any_period",
        "tests/unit/lookups/test_http.py::test_a_rate_is_kept",
    ),
    "caches": everywhere(
        "tests/unit/lookups/test_http.py::test_equal_requests_at_once_and_later_are_sent_once",
        "tests/unit/lookups/test_http.py::test_the_cache_is_bounded_in_bytes",
        "tests/unit/lookups/test_http.py::test_each_caller_has_its_own_value_of_a_cached_answer",
    ),
    "observability": Line(
        (
            "tests/unit/processing/test_status.py::test_failing_events_are_reported_with_place_count_and_reason",
            "tests/unit/processing/test_latency.py::test_the_metric_is_that_of_each_latency_alone",
            "tests/unit/processing/embedded/test_state_sizes.py"
            "::test_sizes_are_what_counting_finds_also_after_restarts",
            f"{OBSERVED}test_what_a_running_job_measures_is_in_the_metrics_on_the_page_and_in_the_answer",
        ),
        (f"{OBSERVED}test_what_a_running_job_measures_is_in_the_metrics_on_the_page_and_in_the_answer",),
        (f"{JOB_RUN}test_the_summary_has_what_the_functions_of_the_job_counted",),
    ),
}
