"""Projects in environments, as releases."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from headwater.checking import check_project
from headwater.cli.init import write_project
from headwater.deploy.environment import Environment, read_environment
from headwater.deploy.release import Release, deployed_config, release_of

IMAGE = "registry.example.org/shop:1.4.0"
KAFKA = {"log": "kafka://kafka:9092"}
# Credentials of the brokers, one from a variable and one from a file.
WITH_SECRETS = {
    "log": {
        "url": "kafka://kafka:9092",
        "kafka": {"sasl.username": "${env:KAFKA_USER}", "sasl.password": "${file:secrets/kafka-password}"},
    }
}


def environment_of(directory: Path, written: Mapping[str, Any]) -> Environment:
    """What is written, read from a file."""
    file = directory / "deploy.yaml"
    file.write_text(yaml.safe_dump({"image": IMAGE, **written}), encoding="utf-8")
    return read_environment(file)


def new_project(directory: Path, name: str = "shop") -> Path:
    """The project of `headwater init`."""
    write_project(directory / name)
    return directory / name


def new_release(directory: Path, written: Mapping[str, Any], name: str = "shop") -> Release:
    """A new project, in the environment that is written."""
    project = directory / name
    if not project.exists():
        new_project(directory, name)
    return release_in(project, environment_of(directory, written))


def release_in(project: Path, environment: Environment) -> Release:
    report = check_project(deployed_config(project, environment))
    assert report.project is not None
    assert not report.errors, report.errors
    return release_of(report.project, environment)


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
