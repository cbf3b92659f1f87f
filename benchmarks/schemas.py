"""The cost of checking and materializing a schema repository, all of it and one file, compared with jsonschema-tools.

make bench ARGS="schemas --repository ../schemas --original ../node"

`--repository` is a schema repository with a `.jsonschema-tools.yaml` (it is copied, nothing in it is changed).
`--original` is a directory in which npm installed jsonschema-tools and mocha; without it only ours is measured.
`--times N` also checks a repository that is as many times as large.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import figures
from headwater.schemas.workspace.materialize_all import materialize_all
from headwater.schemas.workspace.version_files import version_files, write_changed
from headwater.schemas.workspace.working_copy import WorkingCopy

RUN_OURS = (sys.executable, "-c", "from headwater.cli import main; main()", "schema")
TESTS = "require('@wikimedia/jsonschema-tools').tests.all({ logLevel: 'error' });\n"


@dataclass
class Chore:
    """A command to measure, and what its rounds took."""

    name: str
    who: str
    command: Sequence[str]
    wall_seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)

    def run(self, directory: Path) -> None:
        """One round. Raises SystemExit if the command itself fails; findings are not a failure."""
        before, started = os.times(), time.perf_counter()
        done = subprocess.run(self.command, cwd=directory, env=_environment(), capture_output=True, check=False)
        self.wall_seconds.append(time.perf_counter() - started)
        after = os.times()
        spent = after.children_user + after.children_system - before.children_user - before.children_system
        self.cpu_seconds.append(spent)
        if done.returncode not in (0, 1):
            raise SystemExit(f"{' '.join(self.command)}: {done.stderr.decode(errors='replace')[-2000:]}")

    def forget(self) -> None:
        """Drop what was measured so far."""
        self.wall_seconds.clear()
        self.cpu_seconds.clear()


def _environment() -> dict[str, str]:
    """Python keeps compiled modules, as it does for an installed package, but outside the checkout."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPYCACHEPREFIX": str(Path(tempfile.gettempdir()) / f"headwater-benchmark-{os.getuid()}")}


def main() -> int:
    """Measure and print; the exit status."""
    options = _options()
    with _copied(options.repository, options.original) as root:
        title = _title_of_one_version(root)
        chores = [*_ours(root, title), *(_original(root, title) if options.original else ())]
        figures.conditions(f"{_described(root)}; {options.rounds} rounds in turns")
        for chore in chores:
            # The first run of each compiles and reads files that later ones find in memory.
            chore.run(root)
            chore.forget()
        for turn in range(options.rounds):
            for chore in chores if turn % 2 == 0 else reversed(chores):
                chore.run(root)
        _print(chores)
        if options.times > 1:
            _enlarge(root, options.times)
            large = Chore("check all", "ours", (*RUN_OURS, "check"))
            large.run(root)
            wall, spent = large.wall_seconds[0], large.cpu_seconds[0]
            print(f"\n{_described(root)}: {wall:.1f} s, {spent:.1f} s of processor time")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repository", type=Path, required=True)
    parser.add_argument("--original", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--times", type=int, default=1)
    return parser.parse_args()


@contextmanager
def _copied(repository: Path, original: Path | None) -> Iterator[Path]:
    """A copy with all links made, and the original where its commands look for it."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory) / "repository"
        shutil.copytree(repository, root, symlinks=True, ignore=shutil.ignore_patterns(".git", "node_modules"))
        if not (root / ".jsonschema-tools.yaml").exists():
            (root / "jsonschema-tools.yaml").rename(root / ".jsonschema-tools.yaml")
        _link(root)
        if original is not None:
            (root / "node_modules").symlink_to((original / "node_modules").resolve())
            (root / "test.js").write_text(TESTS, encoding="utf-8")
        yield root


def _link(root: Path) -> None:
    copy = WorkingCopy.open(root)
    made = materialize_all(copy).made
    write_changed([file for one in made for file in version_files(one, copy.base / one.title, copy.settings)])
    for folder in copy.schemas.values():
        for file in folder.versions.values():
            link = file.with_suffix("")
            if not link.is_symlink():
                link.symlink_to(file.name)


def _ours(root: Path, title: str) -> list[Chore]:
    return [
        Chore("check all", "ours", (*RUN_OURS, "check")),
        Chore("materialize all", "ours", (*RUN_OURS, "materialize")),
        Chore("materialize one", "ours", (*RUN_OURS, "materialize", title)),
        Chore("check one", "ours", (*RUN_OURS, "check", title)),
    ]


def _original(root: Path, title: str) -> list[Chore]:
    programs = root / "node_modules" / ".bin"
    tools = str(programs / "jsonschema-tools")
    current = str(WorkingCopy.open(root).folder(title).current)
    return [
        Chore("check all", "original", (str(programs / "mocha"), "--reporter", "dot", "test.js")),
        Chore("materialize all", "original", (tools, "materialize-all")),
        Chore("materialize one", "original", (tools, "materialize", current)),
    ]


def _title_of_one_version(root: Path) -> str:
    schemas = WorkingCopy.open(root).schemas.items()
    return next(title for title, one in schemas if one.current and len(one.versions) == 1)


def _described(root: Path) -> str:
    schemas = WorkingCopy.open(root).schemas.values()
    versions = sum(len(one.files) for one in schemas)
    return f"{len(schemas):,} schemas, {versions:,} versions"


def _enlarge(root: Path, times: int) -> None:
    """Copies of every schema but the fragments, each under a title of its own."""
    base = WorkingCopy.open(root).base
    folders = [one for title, one in WorkingCopy.open(root).schemas.items() if not title.startswith("fragment/")]
    for at in range(1, times):
        for folder in folders:
            target = base / f"copy{at}" / folder.title
            target.mkdir(parents=True)
            for file in folder.path.iterdir():
                if file.is_symlink():
                    (target / file.name).symlink_to(os.readlink(file))
                elif file.is_file():
                    text = file.read_text(encoding="utf-8")
                    text = text.replace(f"title: {folder.title}\n", f"title: copy{at}/{folder.title}\n")
                    (target / file.name).write_text(
                        text.replace(f"/{folder.title}/", f"/copy{at}/{folder.title}/"), encoding="utf-8"
                    )


def _print(chores: Sequence[Chore]) -> None:
    originals = {chore.name: chore for chore in chores if chore.who == "original"}
    median: Callable[[Sequence[float]], float] = statistics.median
    rows = []
    for chore in chores:
        if chore.who != "ours":
            continue
        other = originals.get(chore.name)
        ratios = (
            [theirs / own for theirs, own in zip(other.cpu_seconds, chore.cpu_seconds, strict=True)] if other else []
        )
        row = [chore.name, figures.spread(ratios) if ratios else "–"]
        for values in ("cpu_seconds", "wall_seconds"):
            row.append(f"{median(getattr(chore, values)):.2f}")
            row.append(f"{median(getattr(other, values)):.2f}" if other else "–")
        rows.append(row)
    figures.table(["chore", "CPU ratio", "CPU s, ours", "original", "wall s, ours", "original"], rows)


if __name__ == "__main__":
    sys.exit(main())
