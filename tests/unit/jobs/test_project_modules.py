"""Files of jobs import other modules of their project, and never those of another project."""

from __future__ import annotations

from pathlib import Path

import pytest

from headwater.errors import JobInvalid
from headwater.jobs.loader import load_jobs

IMPORTS = "from headwater.jobs import Job\nfrom ..shared.names import NAME\nj = Job(NAME, ('a',))\n"


def project(folder: Path, name: str) -> Path:
    (folder / "jobs").mkdir(parents=True)
    (folder / "shared").mkdir()
    (folder / "shared" / "names.py").write_text(f"NAME = {name!r}\n")
    (folder / "jobs" / "one.py").write_text(IMPORTS)
    return folder


def names(folder: Path) -> list[str]:
    return [job.name for job in load_jobs(folder / "jobs", folder)]


def test_each_project_gets_its_own_modules(tmp_path: Path) -> None:
    first, second = project(tmp_path / "first", "first"), project(tmp_path / "second", "second")
    assert [names(first), names(second), names(first)] == [["first"], ["second"], ["first"]]


def test_a_changed_module_is_read_again_by_the_next_load(tmp_path: Path) -> None:
    folder = project(tmp_path / "p", "before")
    assert names(folder) == ["before"]
    (folder / "shared" / "names.py").write_text("NAME = 'changed_since'\n")
    assert names(folder) == ["changed_since"]


@pytest.mark.parametrize("first", ["a_first.py", "z_last.py"])
def test_a_job_that_another_file_imports_is_one_job(tmp_path: Path, first: str) -> None:
    folder = project(tmp_path / "p", "one")
    (folder / "jobs" / first).write_text("from .one import j as imported\n")
    assert names(folder) == ["one"]


def test_a_module_in_a_folder_of_jobs_beginning_with_an_underscore_is_no_file_of_jobs(tmp_path: Path) -> None:
    folder = project(tmp_path / "p", "one")
    (folder / "jobs" / "_names.py").write_text("NAME = 'private'\n")
    (folder / "jobs" / "one.py").write_text(IMPORTS.replace("..shared.names", "._names"))
    assert names(folder) == ["private"]


def test_a_module_that_is_not_there_is_an_error_with_file_and_line(tmp_path: Path) -> None:
    folder = project(tmp_path / "p", "one")
    (folder / "shared" / "names.py").unlink()
    with pytest.raises(JobInvalid, match="No module named") as refused:
        load_jobs(folder / "jobs", folder)
    assert (refused.value.file, refused.value.line) == ("jobs/one.py", 2)
