"""`make bench`: run one benchmark by name, or a short round of all of them.

make bench                              # a few minutes: fewer rounds than the published figures have
make bench ARGS="intake --rounds 9"     # one of them, with its own options
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SHORT = {
    "intake": ["--rounds", "3", "--seconds", "2"],
    "log": ["--rounds", "2", "--seconds", "1"],
    "linked": ["--rounds", "2", "--seconds", "1"],
    "sse": ["--rounds", "2", "--seconds", "2"],
    "jobs": ["--rounds", "1", "--events", "10000", "--seconds", "3"],
    "operators": ["--rounds", "1", "--events", "5000"],
    "idle": ["--rounds", "2", "--seconds", "5"],
    "processes": ["--rounds", "1", "--events", "10000"],
}
# Not part of `all`: they need a broker, a schema repository, real edits, or environments with other engines.
OTHERS = {
    "use_cases": "use_cases.py",
    "schemas": "schemas.py",
    "pods": "pods.py",
    "scaling": "scaling.py",
    "comparison": "comparison/compare.py",
    "sinks": "sinks/compare_sinks.py",
}


def main() -> int:
    """Run the benchmark named on the command line; returns the exit status."""
    name, *options = sys.argv[1:] or ["all"]
    if name != "all" and name not in SHORT and name not in OTHERS:
        print(f"There is no benchmark {name!r}: choose {', '.join((*SHORT, *OTHERS))}, or all.", file=sys.stderr)
        return 2
    for benchmark in SHORT if name == "all" else [name]:
        print(f"\n== {benchmark}", flush=True)
        script = str(Path(__file__).resolve().parent / OTHERS.get(benchmark, f"{benchmark}.py"))
        status = subprocess.run(
            [sys.executable, script, *(SHORT[benchmark] if name == "all" else options)], check=False
        )
        if status.returncode:
            return status.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
