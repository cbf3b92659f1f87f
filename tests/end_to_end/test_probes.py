"""The probes and ports of the manifests, asked of the server that they are about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from deploying.projects import new_project, release_in
from deploying.schemas import pods_of
from end_to_end.running import up
from headwater.config import CONFIG_FILE
from headwater.deploy.environment import Environment
from headwater.deploy.platform_manifests import platform_manifests

SETTINGS: dict[str, dict[str, Any]] = {
    "open": {},
    "keys and names": {
        "consumption": {"keys": "required"},
        "intake": {"keys": "required"},
        "web": {"hosts": ["stream.example.org"], "public_url": "https://stream.example.org"},
    },
}


@pytest.mark.parametrize("which", list(SETTINGS))
def test_the_server_answers_the_probes_and_writes_where_it_may(tmp_path: Path, which: str) -> None:
    project = new_project(tmp_path)
    file = project / CONFIG_FILE
    settings = yaml.safe_load(file.read_text())
    for section, values in SETTINGS[which].items():
        settings[section] = {**settings.get(section, {}), **values}
    file.write_text(yaml.safe_dump(settings))
    manifests = platform_manifests(release_in(project, Environment(image="shop:1")))
    ((container,),) = [pod["spec"]["containers"] for manifest in manifests for pod in pods_of(manifest)]
    assert container["ports"] == [{"name": "http", "containerPort": settings["web"]["port"]}]

    def files() -> set[str]:
        found = (path.relative_to(project).as_posix() for path in project.rglob("*"))
        return {path for path in found if not path.startswith("var")}

    before = files()
    variables = {each["name"]: each["value"] for each in container["env"]}
    home = tmp_path / "home"
    home.mkdir()
    with up(project, "--host", "0.0.0.0", environment={**variables, "HOME": str(home)}) as server:
        address = server.address.replace("0.0.0.0", "127.0.0.1")
        for name in ("startupProbe", "livenessProbe", "readinessProbe"):
            probe = container[name]["httpGet"]
            assert probe["port"] == "http"
            headers = {each["name"]: each["value"] for each in probe["httpHeaders"]}
            answer = httpx.get(address + probe["path"], headers=headers, timeout=container[name]["timeoutSeconds"])
            assert answer.status_code == 200, name
            assert answer.json()["status"] == "ok"
        (annotations,) = [pod["metadata"]["annotations"] for manifest in manifests for pod in pods_of(manifest)]
        metrics = httpx.get(address + annotations["prometheus.io/path"], headers=headers)
        # With keys, Prometheus needs one.
        assert metrics.status_code == (200 if which == "open" else 401)
    assert files() == before
    assert list(home.iterdir()) == []
