"""The reason of a failure, found in what Flink reports."""

from __future__ import annotations

from headwater.processing.flink.reasons import reason_of

PROCESS = """org.apache.flink.runtime.JobException: Recovery is suppressed by NoRestartBackoffTimeStrategy
\tat org.apache.flink.runtime.executiongraph.failover.ExecutionFailureHandler.handleFailure(X.java:219)
Caused by: java.lang.RuntimeException: Failed to close remote bundle
\tat org.apache.flink.streaming.api.runners.python.beam.BeamPythonFunctionRunner.finishBundle(X.java:423)
Caused by: java.util.concurrent.ExecutionException: java.lang.RuntimeException: Error received from SDK harness for \
instruction 3: Traceback (most recent call last):
  File "/venv/apache_beam/runners/worker/sdk_worker.py", line 312, in _execute
    response = task()
               ^^^^^^
  File "/project/jobs/edits.py", line 12, in edits
    raise JobStopped("here")
headwater.errors.JobStopped: count: no such page
(at edits/0/12)

\tat org.apache.beam.runners.fnexecution.control.FnApiControlClient.handle(FnApiControlClient.java:180)
"""
THREAD = """org.apache.flink.runtime.JobException: Recovery is suppressed by NoRestartBackoffTimeStrategy
\tat org.apache.flink.runtime.executiongraph.failover.ExecutionFailureHandler.handleFailure(X.java:219)
Caused by: pemja.core.PythonException: <class 'headwater.errors.JobInvalid'>: The job has no step 'x'.
\tat /venv/pyflink/fn_execution/embedded/operations.process_element(operations.py:140)
\tat pemja.core.object.PyIterator.next(Native Method)
"""
JAVA = """org.apache.flink.util.FlinkException: Global failure triggered by OperatorCoordinator for 'Source'
\tat org.apache.flink.runtime.operators.coordination.OperatorCoordinatorHolder.failJob(X.java:651)
Caused by: org.apache.flink.kafka.shaded.org.apache.kafka.common.errors.UnknownTopicOrPartitionException: This server \
does not host this topic-partition.
"""


def test_in_process_mode_it_is_the_end_of_the_traceback() -> None:
    assert reason_of(PROCESS) == "JobStopped: count: no such page\n(at edits/0/12)"


def test_in_thread_mode_it_is_the_error_of_python() -> None:
    assert reason_of(THREAD) == "JobInvalid: The job has no step 'x'."


def test_without_python_it_is_the_last_cause() -> None:
    assert reason_of(JAVA) == "UnknownTopicOrPartitionException: This server does not host this topic-partition."


def test_a_text_without_any_of_these_is_the_reason_itself() -> None:
    assert reason_of(" it broke \n") == "it broke"
