"""The settings of a job on Flink as options of Flink's configuration, each of them explicit."""

from __future__ import annotations

from collections.abc import Mapping

from headwater.config import Config
from headwater.errors import ConfigInvalid

# In how many groups keys are divided: a job can be rescaled to at most as many parts, and only with the same number.
KEY_GROUPS = 128
RESTART_PAUSE_SECONDS_MAX = 60
# A job that has run for so long without a failure begins to count them again.
RESTART_FORGOTTEN_SECONDS = 300


def execution_options(config: Config, *, needs_process: bool) -> Mapping[str, str]:
    """The options, by their dotted names. `needs_process`: whether the job has async functions.

    Raises ConfigInvalid for settings that do not go together.
    """
    flink = config.flink
    if needs_process and flink.mode == "thread":
        raise ConfigInvalid(
            "flink.mode: thread: the job has async functions, which Flink runs only in a process.",
            hint="Leave flink.mode at auto.",
        )
    if flink.guarantee == "exactly-once" and flink.transaction_seconds_max <= 2 * flink.checkpoint_seconds:
        raise ConfigInvalid(
            f"flink.transaction_seconds_max: {flink.transaction_seconds_max:g}: a transaction is open from one"
            f" checkpoint to the next but one, and these are {flink.checkpoint_seconds:g} s apart.",
            hint="Let transactions be open for longer, or checkpoint more often.",
        )
    in_process = needs_process if flink.mode == "auto" else flink.mode == "process"
    options = {
        "parallelism.default": str(flink.parallelism),
        "pipeline.max-parallelism": str(KEY_GROUPS),
        "python.execution-mode": "process" if in_process else "thread",
        "execution.checkpointing.interval": _duration(flink.checkpoint_seconds),
        "execution.checkpointing.mode": "EXACTLY_ONCE",
        # Of a job that was cancelled, so that it can be continued.
        "execution.checkpointing.externalized-checkpoint-retention": "RETAIN_ON_CANCELLATION",
        "restart-strategy.type": "exponential-delay",
        "restart-strategy.exponential-delay.initial-backoff": _duration(flink.restart_first_seconds),
        "restart-strategy.exponential-delay.max-backoff": f"{RESTART_PAUSE_SECONDS_MAX} s",
        "restart-strategy.exponential-delay.reset-backoff-threshold": f"{RESTART_FORGOTTEN_SECONDS} s",
    }
    if flink.restart_attempts_max == 0:
        options["restart-strategy.type"] = "none"
    elif flink.restart_attempts_max is not None:
        name = "restart-strategy.exponential-delay.attempts-before-reset-backoff"
        options[name] = str(flink.restart_attempts_max)
    if flink.checkpoints is not None:
        options["execution.checkpointing.dir"] = storage_address(config, flink.checkpoints)
    if flink.savepoints is not None:
        options["execution.checkpointing.savepoint-dir"] = storage_address(config, flink.savepoints)
    return options


def storage_address(config: Config, written: str) -> str:
    """Where Flink stores something, as an address: a path becomes `file://`, in the project if it is relative."""
    if "://" in written:
        return written
    return config.path(written).absolute().as_uri()


def _duration(seconds: float) -> str:
    return f"{max(1, round(seconds * 1000))} ms"
