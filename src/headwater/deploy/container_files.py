"""Container files: how the images of a project are built, from its directory as the context.

Two images: `Containerfile` for the platform's processes, `Containerfile.flink` for jobs on Flink, which has other
packages. Everything that is fetched is pinned: packages of Python by hashes, the archive of Java by a checksum.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from pathlib import Path

import headwater
from headwater.checking.project import Project
from headwater.deploy.pods import USER_ID
from headwater.deploy.release import PROJECT_DIRECTORY, WRITABLE, references_of
from headwater.errors import ConfigInvalid

PYTHON_IMAGE = "docker.io/library/python:3.11-slim-bookworm"
FLINK_IMAGE = "docker.io/library/flink:2.2.1-scala_2.12-java21"
MAVEN_IMAGE = "docker.io/library/maven:3.9-eclipse-temurin-21"
FLINK_VERSION = "2.2.1"
CONNECTOR = ("org.apache.flink", "flink-sql-connector-kafka", "5.0.0-2.2")
CONNECTOR_SHA256 = "5605c691d11a501382c383fecba37a7a552467da5ab7ba904ef5d6f3d62c5616"
FLINK_HOME = "/opt/flink"
FLINK_USER_ID = 9_999
FLINK_PYTHON = "/usr/local/bin/python3"

PLATFORM_FILE, FLINK_FILE, IGNORE_FILE = "Containerfile", "Containerfile.flink", ".dockerignore"
CONSTRAINTS, ALL_CONNECTORS, FLINK_CONSTRAINTS = (
    "constraints.txt",
    "constraints-connectors.txt",
    "constraints-flink.txt",
)
# The packages that a project's own jobs import, if it has this file.
REQUIREMENTS = "requirements.txt"
WHEELS = "wheels"
_ENVIRONMENT = "/opt/headwater"
_PIP = "pip install --no-cache-dir"
# Packages that Flink needs and that are published as source only.
_FLINK_SOURCES = "crcmod,dill,docopt,hdfs"
# The extras in `constraints.txt`; the drivers of all other connectors are in `constraints-connectors.txt`.
_LOCAL_EXTRAS = frozenset({"duckdb", "kafka"})
_NOTICE = "Written by `headwater deploy --to container`. Build it in the project's directory."

# An instruction and what follows it; a comment has the instruction `#`.
Instruction = tuple[str, str]


def container_files(project: Project) -> dict[str, str]:
    """File name → text, for the directory of the project: container files, what they ignore, and pinned versions.

    Raises ConfigInvalid if the pinned versions are not there.
    """
    constraints = ALL_CONNECTORS if _extras(project) - _LOCAL_EXTRAS else CONSTRAINTS
    has_requirements = (project.config.project_dir / REQUIREMENTS).is_file()
    files = {
        PLATFORM_FILE: _text(_platform(constraints, has_requirements=has_requirements)),
        constraints: _pinned(constraints),
        IGNORE_FILE: "".join(f"{path}\n" for path in _ignored(project)),
    }
    if project.config.log.is_kafka:
        files[FLINK_FILE] = _text(_flink(has_requirements=has_requirements))
        files[FLINK_CONSTRAINTS] = _pinned(FLINK_CONSTRAINTS)
    return files


def _platform(constraints: str, *, has_requirements: bool) -> Iterator[Instruction]:
    pip = f"{_ENVIRONMENT}/bin/{_PIP}"
    yield "#", _NOTICE
    yield "ARG", f"PYTHON_IMAGE={PYTHON_IMAGE}"
    yield "FROM", "${PYTHON_IMAGE} AS environment"
    yield "COPY", f"{constraints} {WHEELS}/ {BUILD}/"
    yield "RUN", f"python -m venv {_ENVIRONMENT}"
    yield "RUN", f"{pip} --require-hashes --only-binary :all: --no-deps -r {BUILD}/{constraints}"
    yield "RUN", f"{pip} {_OWN_WHEEL}"
    if has_requirements:
        yield "COPY", f"{REQUIREMENTS} {BUILD}/"
        yield "RUN", f"{pip} --constraint {BUILD}/{constraints} -r {BUILD}/{REQUIREMENTS}"
    yield from _project_stage()
    yield "FROM", "${PYTHON_IMAGE}"
    yield "COPY", f"--from=environment {_ENVIRONMENT} {_ENVIRONMENT}"
    yield "COPY", f"--from=project {PROJECT_DIRECTORY} {PROJECT_DIRECTORY}"
    yield "ENV", f"PATH={_ENVIRONMENT}/bin:$PATH HOME=/tmp PYTHONDONTWRITEBYTECODE=1"
    yield "RUN", f"headwater check --project {PROJECT_DIRECTORY}"
    yield "RUN", f"mkdir -p {PROJECT_DIRECTORY}/{WRITABLE} && chown {USER_ID}:{USER_ID} {PROJECT_DIRECTORY}/{WRITABLE}"
    yield "USER", f"{USER_ID}:{USER_ID}"
    yield "WORKDIR", PROJECT_DIRECTORY
    yield "CMD", f'["headwater", "up", "--project", "{PROJECT_DIRECTORY}", "--host", "0.0.0.0"]'


def _flink(*, has_requirements: bool) -> Iterator[Instruction]:
    """Flink and its Java are taken from Flink's image, Python from that of the platform: Flink's own has none."""
    group, artifact, version = CONNECTOR
    jar = f"{artifact}-{version}.jar"
    yield "#", _NOTICE
    yield "ARG", f"PYTHON_IMAGE={PYTHON_IMAGE}"
    yield "ARG", f"FLINK_IMAGE={FLINK_IMAGE}"
    yield "ARG", f"MAVEN_IMAGE={MAVEN_IMAGE}"
    yield "FROM", "${MAVEN_IMAGE} AS jars"
    copy = "mvn --batch-mode --quiet org.apache.maven.plugins:maven-dependency-plugin:2.8:copy"
    yield "RUN", f"{copy} -Dartifact={group}:{artifact}:{version} -DoutputDirectory=/jars"
    yield "RUN", f'echo "{CONNECTOR_SHA256}  /jars/{jar}" | sha256sum --check --strict'
    yield "FROM", "${FLINK_IMAGE} AS flink"
    yield from _project_stage()
    yield "FROM", "${PYTHON_IMAGE}"
    yield "COPY", f"{FLINK_CONSTRAINTS} {WHEELS}/ {BUILD}/"
    yield "#", "Some libraries of Flink are published as source only: what builds them is installed before them."
    yield "RUN", f"sed -n '/^setuptools==/,/[^\\\\]$/p' {BUILD}/{FLINK_CONSTRAINTS} > {BUILD}/first.txt"
    yield "RUN", f"{_PIP} --require-hashes --only-binary :all: --no-deps -r {BUILD}/first.txt"
    sources = f"--no-build-isolation --only-binary :all: --no-binary {_FLINK_SOURCES}"
    yield "RUN", f"{_PIP} --require-hashes {sources} --no-deps -r {BUILD}/{FLINK_CONSTRAINTS}"
    yield "RUN", f"{_PIP} {_OWN_WHEEL}"
    if has_requirements:
        yield "COPY", f"{REQUIREMENTS} {BUILD}/"
        yield "RUN", f"{_PIP} --constraint {BUILD}/{FLINK_CONSTRAINTS} -r {BUILD}/{REQUIREMENTS}"
    yield "COPY", f"--from=flink --chown={FLINK_USER_ID}:{FLINK_USER_ID} {FLINK_HOME} {FLINK_HOME}"
    yield "COPY", "--from=flink /opt/java/openjdk /opt/java/openjdk"
    yield "COPY", "--from=flink /docker-entrypoint.sh /docker-entrypoint.sh"
    yield "COPY", f"--from=jars /jars/{jar} {FLINK_HOME}/lib/"
    yield "#", "In lib/, and not with each job: its native library can be loaded only once in a JVM."
    yield "RUN", f"cp {FLINK_HOME}/opt/flink-python-{FLINK_VERSION}.jar {FLINK_HOME}/lib/"
    yield "COPY", f"--from=project {PROJECT_DIRECTORY} {PROJECT_DIRECTORY}"
    yield (
        "ENV",
        f"FLINK_HOME={FLINK_HOME} JAVA_HOME=/opt/java/openjdk PATH={FLINK_HOME}/bin:/opt/java/openjdk/bin:$PATH",
    )
    yield "USER", f"{FLINK_USER_ID}:{FLINK_USER_ID}"
    yield "WORKDIR", FLINK_HOME
    yield "ENTRYPOINT", '["/docker-entrypoint.sh"]'


BUILD = "/build"
_OWN_WHEEL = f"--no-deps --no-index --find-links {BUILD} headwater=={headwater.__version__}"


def _project_stage() -> Iterator[Instruction]:
    """The project without what images are built from."""
    yield "FROM", "${PYTHON_IMAGE} AS project"
    yield "COPY", f". {PROJECT_DIRECTORY}/"
    built_from = (WHEELS, CONSTRAINTS, ALL_CONNECTORS, FLINK_CONSTRAINTS, PLATFORM_FILE, FLINK_FILE)
    yield "RUN", f"cd {PROJECT_DIRECTORY} && rm -rf {' '.join(built_from)}"


def _text(instructions: Iterator[Instruction]) -> str:
    lines = []
    for name, rest in instructions:
        # Each stage begins after an empty line.
        lines += [""] if name == "FROM" else []
        lines.append(f"{name} {rest}")
    return "\n".join(lines) + "\n"


def _ignored(project: Project) -> Sequence[str]:
    """What is not sent to the builder: what the project has written, and files of secrets."""
    secret = (posixpath.relpath(file, PROJECT_DIRECTORY) for file in references_of(project).files)
    inside = sorted(file for file in secret if not file.startswith(".."))
    return [".git", ".venv", "**/__pycache__", "**/.pytest_cache", WRITABLE, "**/*.env", *inside]


def _extras(project: Project) -> set[str]:
    """The extras that the connectors of the project need."""
    found = set()
    for job in project.writers:
        sink = job.writes().sink
        found |= {spec.extra for spec in (sink and sink.spec, job.input and job.input.spec) if spec and spec.extra}
    if project.config.lake.location is not None:
        found.add("parquet")
    return found


def _pinned(name: str) -> str:
    """The pinned versions that this release of Headwater is tested with."""
    package = Path(headwater.__file__).parent
    # In the package if it was installed from a wheel; in the repository if it runs from there.
    for path in (package / "deploy" / "constraints" / name, package.parents[1] / name):
        if path.is_file():
            return path.read_text(encoding="utf-8")
    raise ConfigInvalid(
        f"{name}, the pinned versions of packages, is not part of this installation of Headwater.",
        hint="Install Headwater from a wheel or a clone of its repository.",
    )
