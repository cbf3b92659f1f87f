"""Runs one target's campaign in a process of its own, and stores the inputs that reached new code between campaigns."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

from headwater.testing.fuzzing.campaign import Campaign, Report
from headwater.testing.fuzzing.targets import TARGETS


def run_campaign(name: str, seed: int, seconds: float, cases: int, corpus: Path | None) -> Report:
    """The report on a target. `corpus`: a directory with one directory of inputs per target, read before and written
    after.
    """
    # Refusals are logged, and nearly every input is refused here.
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        kept = corpus / name if corpus is not None else None
        examples = [file.read_bytes() for file in sorted(kept.iterdir())] if kept is not None and kept.is_dir() else []
        report = Campaign(TARGETS[name], seed, examples).run(seconds=seconds, cases=cases)
        if kept is not None:
            kept.mkdir(parents=True, exist_ok=True)
            for example in report.examples:
                (kept / digest(example)).write_bytes(example)
        return report
    finally:
        logging.disable(disabled)


def digest(data: bytes) -> str:
    """The name of the file an input is stored in."""
    return hashlib.sha256(data).hexdigest()[:16]
