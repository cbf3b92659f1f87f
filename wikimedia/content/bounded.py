"""Calls a function in a process of its own that is ended when one call takes too much time.

How this works: the process is this file run as a program. It loads the module, and answers each line of JSON, the
arguments, with a line: the result or the error. Before each call it asks the system to end it after the given seconds
of processor time, which also ends code in C, and does not depend on what else the machine does. The next call then
starts a new process.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any


class OverBudget(Exception):
    """The call took more processor time than it may."""

    error_type = "TIMEOUT"


class Failed(Exception):
    """The function raised an error, or its process ended. `error_type` is that of the error, if it has one."""

    def __init__(self, message: str, error_type: str = "ANALYSIS_FAILED") -> None:
        super().__init__(message)
        self.error_type = error_type


class Bounded:
    """The function `function` of the Python file `module`, of which each call may take `seconds` of processor time."""

    def __init__(self, module: Path, function: str, *, seconds: float) -> None:
        self._module = module
        self._function = function
        self._seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None

    def __call__(self, **arguments: Any) -> Any:
        """What the function returns, a JSON value. Raises OverBudget, Failed."""
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(arguments).encode() + b"\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except OSError:
            answer = b""
        if not answer.endswith(b"\n"):
            code = self.close()
            if code == -signal.SIGPROF:
                raise OverBudget(f"{self._function} took more than {self._seconds:g} s of processor time.")
            raise Failed(f"The process of {self._function} ended with the code {code}.")
        decoded = json.loads(answer)
        if "error" in decoded:
            raise Failed(decoded["error"], decoded["error_type"])
        return decoded["result"]

    def close(self) -> int | None:
        """End the process; its exit code."""
        process, self._process = self._process, None
        if process is None:
            return None
        atexit.unregister(self.close)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        return process.wait()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is not None:
            self.close()
        if self._process is None:
            command = [sys.executable, str(Path(__file__)), str(self._module), self._function, str(self._seconds)]
            # Libraries that go through sets of texts then give the same result each time.
            environment = {**os.environ, "PYTHONHASHSEED": "0"}
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, start_new_session=True
            )
            atexit.register(self.close)
        return self._process


def _serve(module: str, function: str, seconds: float) -> None:
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    # What the library prints must not be taken for an answer.
    os.dup2(2, 1)
    try:
        call = runpy.run_path(module)[function]
    except ImportError as error:
        message = f"{error}. Install it: pip install 'headwater[wikimedia]'."
        answers.write(json.dumps({"error": message, "error_type": "HANDLER_ERROR"}).encode() + b"\n")
        return
    for line in requests:
        signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            answer = {"result": call(**json.loads(line))}
        except Exception as error:
            kind = getattr(error, "error_type", "ANALYSIS_FAILED")
            answer = {"error": f"{type(error).__name__}: {error}"[:2000], "error_type": kind}
        signal.setitimer(signal.ITIMER_PROF, 0)
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()


if __name__ == "__main__":
    _serve(sys.argv[1], sys.argv[2], float(sys.argv[3]))
