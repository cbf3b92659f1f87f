"""Container files: their instructions refer to what there is, and what needs no network works as written.

Images cannot be built in these tests. Their instructions are read, and those that fetch nothing are run, on copies.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest
import yaml

from deploying.projects import KAFKA, environment_of, new_project
from headwater.checking import check_project
from headwater.deploy import container_files as files_of
from headwater.deploy.container_files import CONNECTOR, CONNECTOR_SHA256, container_files
from headwater.deploy.release import deployed_config

INSTRUCTIONS = {"ARG", "FROM", "COPY", "RUN", "ENV", "USER", "WORKDIR", "CMD", "ENTRYPOINT"}
FETCHES = re.compile(r"mvn |pip install .*--require-hashes|pip install .*--constraint")


def made(directory: Path, changed: dict[str, object] = KAFKA) -> dict[str, str]:
    project = directory / "shop" if (directory / "shop").exists() else new_project(directory)
    report = check_project(deployed_config(project, environment_of(directory, {"settings": changed})))
    assert report.project is not None
    return container_files(report.project)


def instructions(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, _, rest = line.partition(" ")
            assert name in INSTRUCTIONS, line
            yield name, rest


@pytest.mark.parametrize("file", ["Containerfile", "Containerfile.flink"])
def test_stages_and_copied_files_are_there(tmp_path: Path, file: str) -> None:
    files = made(tmp_path)
    for name, text in files.items():
        (tmp_path / "shop" / name).write_text(text)
    (tmp_path / "shop" / "wheels").mkdir()
    stages: set[str] = set()
    arguments: dict[str, str] = {}
    for name, rest in instructions(files[file]):
        if name == "ARG":
            key, _, value = rest.partition("=")
            arguments[key] = value
        elif name == "FROM":
            image, _, stage = rest.partition(" AS ")
            assert image.startswith("${")
            assert re.fullmatch(r"[a-z0-9./-]+:[A-Za-z0-9._-]+", arguments[image[2:-1]]), "an image with a tag"
            stages.add(stage)
        elif name == "COPY":
            words = rest.split()
            options = [word for word in words if word.startswith("--")]
            sources = [word for word in words if not word.startswith("--")][:-1]
            stage = next((one.removeprefix("--from=") for one in options if one.startswith("--from=")), None)
            assert stage is None or stage in stages
            for source in sources:
                assert (PurePosixPath(source).is_absolute()) is (stage is not None)
                assert stage is not None or (tmp_path / "shop" / source).exists(), source
    assert stages > {"project"}


@pytest.mark.parametrize("file", ["Containerfile", "Containerfile.flink"])
def test_pinned_packages_are_installed_without_looking_for_others(tmp_path: Path, file: str) -> None:
    pinned = [rest for name, rest in instructions(made(tmp_path)[file]) if name == "RUN" and "--require-hashes" in rest]
    assert pinned
    # What a package requires for its commands only may be left out of the list.
    assert [command for command in pinned if "--no-deps" not in command] == []


@pytest.mark.parametrize("file", ["Containerfile", "Containerfile.flink"])
def test_users_are_those_of_the_manifests_and_not_root(tmp_path: Path, file: str) -> None:
    (user,) = [rest for name, rest in instructions(made(tmp_path)[file]) if name == "USER"]
    assert user == {"Containerfile": "10001:10001", "Containerfile.flink": "9999:9999"}[file]


@pytest.mark.slow
def test_what_fetches_nothing_works(tmp_path: Path, repository: Path) -> None:
    """The commands of the platform's image, below another root; its packages are those of this environment."""
    files = made(tmp_path, {})
    project = tmp_path / "shop"
    own = {path.name for path in project.iterdir()}
    for name, text in files.items():
        (project / name).write_text(text)
    root = tmp_path / "root"
    build = root / "build"
    build.mkdir(parents=True)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(build)]
    subprocess.run([*command, str(repository)], check=True, capture_output=True)
    (project / "wheels").mkdir()
    shutil.copytree(project, root / "srv" / "project")
    run = 0
    for name, rest in instructions(files["Containerfile"]):
        if name != "RUN" or FETCHES.search(rest):
            continue
        here = re.sub(r"(?<![\w.:])/(srv|opt|build)\b", rf"{root}/\1", rest).replace(
            "chown 10001:10001", "chown $(id -u)"
        )
        here = here.replace("python -m venv", f"{sys.executable} -m venv")
        here = re.sub(r"(^|&& )headwater ", rf"\1{root}/opt/headwater/bin/headwater ", here)
        done = subprocess.run(here, shell=True, check=False, capture_output=True, text=True, env=_environment(here))
        assert done.returncode == 0, f"{here}: {done.stdout}{done.stderr}"
        run += 1
    assert run == 5
    left = {path.name for path in (root / "srv" / "project").iterdir()}
    assert left == own | {".dockerignore", "var"}
    constraints = next((root / "opt" / "headwater" / "lib").glob("*/site-packages/headwater/deploy/constraints"))
    assert {path.name for path in constraints.iterdir()} == {
        path.name for path in repository.glob("constraints*.txt")
    } - {"constraints-dev.txt"}


def _environment(command: str) -> dict[str, str]:
    # The packages of the environment that runs the tests stand for those that an image fetches. pip does not see them.
    packages = [path for path in sys.path if path.endswith("site-packages") and "/bin/headwater " in command]
    return {"PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(packages)}


def test_the_lists_of_builders_are_found_in_the_pinned_versions(tmp_path: Path, repository: Path) -> None:
    files = made(tmp_path)
    (extract,) = [rest for _, rest in instructions(files["Containerfile.flink"]) if rest.startswith("sed ")]
    (tmp_path / "constraints-flink.txt").write_text(files["constraints-flink.txt"])
    subprocess.run(extract.replace("/build", str(tmp_path)), shell=True, check=True)
    first = (tmp_path / "first.txt").read_text().splitlines()
    assert first[0].startswith("setuptools==")
    assert all(line.strip().startswith("--hash=sha256:") for line in first[1:])
    assert not first[-1].endswith("\\")
    (sources,) = re.findall(r"--no-binary (\S+)", files["Containerfile.flink"])
    pinned = {line.partition("==")[0] for line in files["constraints-flink.txt"].splitlines() if "==" in line}
    assert set(sources.split(",")) <= pinned


def test_an_archive_with_another_checksum_stops_the_build(tmp_path: Path) -> None:
    (check,) = [rest for _, rest in instructions(made(tmp_path)["Containerfile.flink"]) if "sha256sum" in rest]
    jars = tmp_path / "jars"
    jars.mkdir()
    (jars / f"{CONNECTOR[1]}-{CONNECTOR[2]}.jar").write_bytes(b"something else")
    done = subprocess.run(check.replace("/jars", str(jars)), shell=True, check=False, capture_output=True)
    assert done.returncode == 1
    assert CONNECTOR_SHA256 in check


def test_packages_are_the_smaller_set_unless_a_connector_needs_more(tmp_path: Path) -> None:
    assert "constraints.txt" in made(tmp_path)
    sink = {"connector": "postgres", "dsn": "${env:POSTGRES}", "key": "wiki"}
    (tmp_path / "shop" / "streams" / "sold.yaml").write_text(
        yaml.safe_dump({"stream": "sold", "schema_title": "demo/edit", "sinks": [sink]}), encoding="utf-8"
    )
    assert "constraints-connectors.txt" in made(tmp_path)


def test_the_extras_in_the_smaller_set_are_those_that_it_is_made_of(repository: Path) -> None:
    extras = tomllib.loads((repository / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert all(extra in extras["local"][0] for extra in files_of._LOCAL_EXTRAS)


def test_secrets_are_not_sent_to_the_builder(tmp_path: Path) -> None:
    secret = {"log": {"url": "kafka://kafka:9092", "kafka": {"sasl.password": "${file:secrets/kafka}"}}}
    assert "secrets/kafka" in made(tmp_path, secret)[".dockerignore"].splitlines()


def test_packages_of_the_project_are_installed_within_the_pinned_versions(tmp_path: Path) -> None:
    new_project(tmp_path)
    (tmp_path / "shop" / "requirements.txt").write_text("pyahocorasick\n")
    files = made(tmp_path)
    for file, constraints in (("Containerfile", "constraints.txt"), ("Containerfile.flink", "constraints-flink.txt")):
        assert f"--constraint /build/{constraints} -r /build/requirements.txt" in files[file]
