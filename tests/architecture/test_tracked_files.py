"""What no tracked file may hold: paths of one machine, addresses of package registries, or pins that disagree."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

# Written in pieces, so that this file passes its own test.
MACHINE_PATHS = re.compile(
    r"(^|[^A-Za-z0-9_.~-])/(" + "|".join(("wo" + "rk", "fa" + "rm", "ro" + "ot")) + r")/[a-zA-Z.]"
)
REGISTRIES = re.compile(
    "|".join((r"pypi\." + "org", r"python" + r"hosted\.org", r"registry\." + "npmjs", r"registry\." + "yarnpkg"))
)
LOCKS = re.compile(r"(\.lock|lock\.json|constraints.*\.txt|requirements.*\.txt|\.npmrc|pip\.conf|uv\.toml)$")
ADDRESS = re.compile(r"https?://|index-url|registry *=")
# What each holds, the next one holds too.
GROWING = ("constraints.txt", "constraints-connectors.txt", "constraints-dev.txt")
# What both this and the first hold has the same version.
FLINK = "constraints-flink.txt"
PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)", re.MULTILINE)


@pytest.fixture(scope="module")
def tracked(repository: Path) -> dict[str, str]:
    """Every text file that is, or is about to be, in the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=repository,
        capture_output=True,
        check=True,
    ).stdout.decode()
    texts: dict[str, str] = {}
    for name in filter(None, listed.split("\0")):
        path = repository / name
        if not path.is_file():
            continue
        data = path.read_bytes()
        if b"\0" not in data[:8192]:
            texts[name] = data.decode("utf-8", "replace")
    return texts


def _lines_with(pattern: re.Pattern[str], texts: dict[str, str]) -> list[str]:
    return [
        f"{name}:{number} {line.strip()[:120]}"
        for name, text in texts.items()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]


def test_no_file_names_a_path_of_one_machine(tracked: dict[str, str]) -> None:
    assert _lines_with(MACHINE_PATHS, tracked) == []


def test_no_file_names_a_package_registry(tracked: dict[str, str]) -> None:
    assert _lines_with(REGISTRIES, tracked) == []


def test_no_lock_file_holds_an_address(tracked: dict[str, str]) -> None:
    assert _lines_with(ADDRESS, {name: text for name, text in tracked.items() if LOCKS.search(name)}) == []


def test_all_constraint_files_pin_the_same_versions(repository: Path) -> None:
    runtime, connectors, development = (PIN.findall((repository / file).read_text()) for file in GROWING)
    # A package may have several pins, each for some versions of Python.
    assert set(runtime) - set(connectors) == set()
    assert set(connectors) - set(development) == set()
    flink = PIN.findall((repository / FLINK).read_text())
    shared = {name for name, _ in runtime} & {name for name, _ in flink}
    assert shared
    assert {pin for pin in flink if pin[0] in shared} - set(runtime) == set()


def test_every_pin_has_its_hashes(repository: Path) -> None:
    for file in (*GROWING, FLINK):
        entries = re.split(r"\n(?=[A-Za-z0-9])", (repository / file).read_text().strip())
        assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []


def test_node_locks_keep_their_integrity_hashes(tracked: dict[str, str]) -> None:
    for name, text in tracked.items():
        if name.endswith("package-lock.json"):
            packages = json.loads(text)["packages"]
            assert [path for path, entry in packages.items() if path and "integrity" not in entry] == []
