"""Jobs know the file and line that define them, and every error about one names them."""

from pathlib import Path

import pytest

from headwater.errors import JobInvalid
from headwater.jobs import Job, job, table
from headwater.jobs.loader import load_jobs
from headwater.jobs.place import Place, calling_place

FILE = '''"""Three ways to make a job."""
from headwater.jobs import Each, Job, job, table

decorated = job(
    source="a",
    sink="b",
    name="decorated",
)(lambda event, context: event)


@job(
    source="a",
)
def function(event, context):
    return event


plain = Job("plain", ("a",))
filled = table("filled", source="b",
    columns={"x": "text"})
'''


def write(project: Path, name: str, text: str) -> Path:
    (project / "jobs").mkdir(exist_ok=True)
    (project / "jobs" / name).write_text(text, encoding="utf-8")
    return project / "jobs"


def test_every_way_to_make_a_job_gives_it_its_place_relative_to_the_project(tmp_path: Path) -> None:
    jobs = load_jobs(write(tmp_path, "ways.py", FILE), tmp_path)
    places = {one.name: one.place for one in jobs}
    assert places == {
        "decorated": Place("jobs/ways.py", 4),
        "function": Place("jobs/ways.py", 11),
        "plain": Place("jobs/ways.py", 18),
        "table.filled": Place("jobs/ways.py", 19),
    }
    assert jobs[0].label == "decorated (jobs/ways.py:4)"


def test_a_job_made_outside_a_project_is_in_the_file_that_made_it() -> None:
    here = calling_place()
    made = Job("made", ("a",))
    assert here is not None
    assert made.place == Place(__file__, here.line + 1)
    assert made == Job("made", ("a",)), "the place makes no other job of it"


@pytest.mark.parametrize(
    ("text", "line", "detail"),
    [
        ("from headwater.jobs import job\n\n@job(source='s',\n  state=int)\ndef f(e, c): ...", 4, "no key"),
        ("from headwater.jobs import Job\nx = 1\nj = Job('1', ('a',))", 3, "cannot name a job"),
        ("x = 1\nraise ValueError('no')", 2, "ValueError: no"),
        ("x = 1\n\ny = (", 3, "SyntaxError"),
    ],
)
def test_an_error_of_a_job_file_names_file_and_line_once(tmp_path: Path, text: str, line: int, detail: str) -> None:
    directory = write(tmp_path, "wrong.py", text)
    with pytest.raises(JobInvalid) as caught:
        load_jobs(directory, tmp_path)
    error = caught.value
    assert (error.file, error.line) == ("jobs/wrong.py", line)
    assert detail in error.detail
    assert error.message.count("jobs/wrong.py") == 1


def test_two_jobs_of_one_name_name_both_places(tmp_path: Path) -> None:
    write(tmp_path, "a.py", "from headwater.jobs import Job\none = Job('same', ('a',))\n")
    directory = write(tmp_path, "b.py", "from headwater.jobs import Job\n\ntwo = Job('same', ('b',))\n")
    with pytest.raises(JobInvalid, match=r"^jobs/b\.py:3: There is another job same, at jobs/a\.py:2"):
        load_jobs(directory, tmp_path)


def test_an_error_about_a_job_is_at_its_place() -> None:
    with pytest.raises(JobInvalid) as caught:
        job(source="a", sink="a", name="circle")(lambda event, context: event)
    assert caught.value.file == __file__
    made = table("t", source="s", columns={"x": "text"})
    assert made.place is not None
    assert made.invalid("x").message == f"{made.place}: x"


KEPT = {
    "list": "jobs = [one(n) for n in NAMES]",
    "tuple": "jobs = tuple(one(n) for n in NAMES)",
    "mapping": "jobs = {n: one(n) for n in NAMES}",
    "nested": "jobs = {'a': [one('a'), (one('b'), {'x': one('c')})]}",
    "deque": "from collections import deque\njobs = deque(one(n) for n in NAMES)",
    "named tuple": "from collections import namedtuple\njobs = namedtuple('All', 'a b c')(*(one(n) for n in NAMES))",
    "both": "a = one('a')\njobs = [a, a, one('b')]\nagain = jobs\nc = one('c')",
    "in itself": "jobs = [one(n) for n in NAMES]\njobs.append(jobs)",
    "of others": "class Odd(list):\n    def __iter__(self):\n        1 / 0\njobs = Odd(one(n) for n in NAMES)",
}


@pytest.mark.parametrize("how", KEPT)
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_jobs_are_found_in_what_they_are_kept_in(tmp_path: Path, how: str, line_end: str) -> None:
    text = (
        "from headwater.processing import job\nNAMES = 'abc'\n"
        "def one(name):\n    return job(source='s', name=name)(lambda event, context: event)\n"
    )
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "many.py").write_bytes((text + KEPT[how] + "\n").replace("\n", line_end).encode())
    assert [found.name for found in load_jobs(tmp_path / "jobs", tmp_path)] == ["a", "b", "c"]


def test_two_jobs_of_one_name_in_a_list_are_an_error(tmp_path: Path) -> None:
    text = (
        "from headwater.processing import job\n"
        "jobs = [job(source='s', name='a')(lambda event, context: event) for _ in 'xy']\n"
    )
    with pytest.raises(JobInvalid, match="another job a"):
        load_jobs(write(tmp_path, "many.py", text), tmp_path)
