"""The reason of a failure is the exception of the user's code, wherever Flink has hidden it."""

from __future__ import annotations

from headwater.processing.flink.reasons import REASON_CHARS_MAX, java_reason, python_reason, reason_of

# As Flink 2.2.1 gives them, shortened.
IN_THREAD = """pemja.core.PythonException: <class 'ValueError'>: the event 28 is broken
\tat /srv/project/jobs/counts.process_element(counts.py:14)
\tat /venv/lib/python3.11/site-packages/pyflink/fn_execution/embedded/operations.process_func(operations.py:115)
\tat pemja.core.object.PyIterator.next(Native Method)
\tat java.base/java.lang.Thread.run(Unknown Source)
"""
THROUGH_HEADWATER = """pemja.core.PythonException: <class 'headwater.errors.jobs.JobInvalid'>: no such step
\tat /venv/lib/python3.11/site-packages/headwater/processing/flink/loading.open(loading.py:14)
\tat /srv/src/headwater/jobs/loader.load(loader.py:80)
\tat pemja.core.object.PyIterator.next(Native Method)
"""
IN_PROCESS = """java.lang.RuntimeException: Error while waiting for BeamPythonFunctionRunner flush
\tat org.apache.flink.streaming.api.operators.python.process.AbstractExternalPythonFunctionOperator.invoke(A.java:107)
Caused by: java.util.concurrent.ExecutionException: java.lang.RuntimeException: Error received from SDK harness for \
instruction 4: Traceback (most recent call last):
  File "/venv/lib/python3.11/site-packages/apache_beam/runners/worker/sdk_worker.py", line 311, in _execute
    response = task()
               ^^^^^^
  File "pyflink/fn_execution/beam/beam_operations_fast.pyx", line 176, in pyflink.fn_execution.FunctionOperation.process
  File "/srv/project/jobs/counts.py", line 14, in process_element
    raise ValueError(f"the event {value} is broken")
    ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
ValueError: the event 28 is broken

\tat java.base/java.util.concurrent.CompletableFuture.reportGet(Unknown Source)
\t... 3 more
"""
OF_JAVA = """org.apache.flink.runtime.JobException: Recovery is suppressed by NoRestartBackoffTimeStrategy
\tat org.apache.flink.runtime.executiongraph.failover.ExecutionFailureHandler.handleFailure(E.java:213)
Caused by: java.util.concurrent.CompletionException: x
\tat java.base/java.lang.Thread.run(Unknown Source)
Caused by: org.apache.kafka.common.errors.TimeoutException: Timed out waiting for a node assignment.
\t... 5 more
"""


def test_of_python_in_a_thread() -> None:
    expected = "ValueError: the event 28 is broken (counts.py:14, in process_element)"
    assert python_reason(IN_THREAD) == reason_of(IN_THREAD) == expected


def test_of_python_in_a_process() -> None:
    assert python_reason(IN_PROCESS) == "ValueError: the event 28 is broken (counts.py:14, in process_element)"


def test_of_the_last_traceback_if_one_has_caused_another() -> None:
    other = IN_PROCESS.replace(
        "ValueError: the event 28 is broken\n",
        "ValueError: the event 28 is broken\n\nDuring handling of the above exception, another exception occurred:\n\n"
        "Traceback (most recent call last):\n"
        '  File "/srv/project/jobs/counts.py", line 20, in repair\n    x\nKeyError\n',
    )
    assert python_reason(other) == "KeyError (counts.py:20, in repair)"


def test_a_message_of_several_lines_is_one_line() -> None:
    several = IN_PROCESS.replace("ValueError: the event 28 is broken\n", "ValueError: no such page\n(at edits/0/12)\n")
    said = "ValueError: no such page (at edits/0/12) (counts.py:14, in process_element)"
    assert python_reason(several) == said
    assert python_reason(IN_THREAD.replace("the event 28 is broken", "no such page\n(at edits/0/12)")) == said


def test_frames_of_what_runs_the_code_are_not_its_place() -> None:
    assert python_reason(THROUGH_HEADWATER) == "JobInvalid: no such step"


def test_without_python_it_is_the_innermost_cause() -> None:
    assert python_reason(OF_JAVA) is None
    assert reason_of(OF_JAVA) == "TimeoutException: Timed out waiting for a node assignment."
    assert java_reason("org.apache.flink.X: The job was cancelled.\n\tat a.b(C.java:1)") == "X: The job was cancelled."
    assert java_reason("java.lang.NullPointerException\n\tat a.b(C.java:1)") == "java.lang.NullPointerException"
    assert java_reason("") == ""


def test_a_reason_is_one_line_of_bounded_length() -> None:
    long = reason_of(f"java.lang.Exception: {'x' * 2_000}\n\tat a.b(C.java:1)")
    assert "\n" not in long
    assert len(long) == REASON_CHARS_MAX + 1
