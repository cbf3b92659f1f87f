"""The platform's own manifests: valid, complete, stable, without secrets, and with commands that exist."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path
from typing import Any

import click
import jsonschema
import kubernetes_validate
import pytest

from deploying.projects import KAFKA, WITH_SECRETS, new_release
from deploying.schemas import pods_of, require_valid
from headwater.cli.main import main
from headwater.cli.up.stopping import SECONDS_MAX
from headwater.config import CONFIG_FILE, load_config
from headwater.deploy.names import LABEL
from headwater.deploy.platform_manifests import GRACE_SECONDS, STOP_SECONDS_MAX, platform_manifests
from headwater.deploy.pods import CHECKSUM
from headwater.deploy.written_yaml import yaml_documents
from headwater.platform import build

KAFKA_ENVIRONMENT = {"settings": KAFKA, "serving": {"replicas": 3, "replicas_max": 6}}
EVERYTHING = {
    "settings": {**WITH_SECRETS, "jobs": {"shared": True}},
    "namespace": "events",
    "labels": {"team": "data"},
    "image_pull_secrets": ["registry"],
    "secret": "shop",
    "api_keys_secret": "shop-keys",
    "serving": {"replicas": 3, "replicas_max": 6},
    "jobs": {"storage_class": "fast", "shared_replicas": 2},
    "prometheus": "pod_monitor",
    "network": {"policies": True},
}
ENVIRONMENTS: dict[str, dict[str, Any]] = {
    "SQLite": {},
    "Kafka": {"settings": KAFKA},
    "Kafka with an autoscaler": KAFKA_ENVIRONMENT,
    "everything": EVERYTHING,
}


@pytest.fixture(params=list(ENVIRONMENTS))
def manifests(request: pytest.FixtureRequest, tmp_path: Path) -> list[dict[str, Any]]:
    return platform_manifests(new_release(tmp_path, ENVIRONMENTS[request.param]))


def kinds(manifests: list[dict[str, Any]]) -> dict[str, list[str]]:
    by_kind = itertools.groupby(sorted(manifests, key=lambda one: one["kind"]), key=lambda one: one["kind"])
    return {kind: [one["metadata"]["name"] for one in found] for kind, found in by_kind}


def one(manifests: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    (found,) = [each for each in manifests if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


def test_all_are_valid_for_the_published_schemas(manifests: list[dict[str, Any]]) -> None:
    for manifest in manifests:
        require_valid(manifest)


def test_a_misspelt_key_anywhere_would_be_found(manifests: list[dict[str, Any]]) -> None:
    """Whatever we write below `spec`, were it misspelt: the schemas know it, and refuse what they do not know."""
    tried = 0
    for manifest in manifests:
        for path in keys_of(manifest.get("spec", {}), ("spec",)):
            wrong = copy.deepcopy(manifest)
            within = wrong
            for part in path[:-1]:
                within = within[part]
            within[f"{path[-1]}x"] = within.pop(path[-1])
            with pytest.raises((kubernetes_validate.ValidationError, jsonschema.ValidationError)):
                require_valid(wrong)
            tried += 1
    assert tried > 60


def keys_of(value: Any, path: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """The paths of all keys, without those that are names of our own."""
    if isinstance(value, list):
        return [found for index, item in enumerate(value) for found in keys_of(item, (*path, index))]
    if not isinstance(value, dict):
        return []
    ours = path[-1] in ("labels", "matchLabels", "annotations", "selector", "requests", "limits")
    is_selector = path[-1] == "selector" and "matchLabels" in value
    return [
        found
        for key, item in value.items()
        if not ours or is_selector
        for found in [(*path, key), *keys_of(item, (*path, key))]
    ]


def test_what_a_project_consists_of(tmp_path: Path) -> None:
    assert kinds(platform_manifests(new_release(tmp_path, {}))) == {
        "ConfigMap": ["shop-settings"],
        "Service": ["shop"],
        "ServiceAccount": ["shop"],
        "StatefulSet": ["shop"],
    }
    assert kinds(platform_manifests(new_release(tmp_path, EVERYTHING))) == {
        "ConfigMap": ["shop-settings"],
        "Deployment": ["shop", "shop-shared-jobs"],
        "HorizontalPodAutoscaler": ["shop"],
        "NetworkPolicy": ["shop"],
        "PodDisruptionBudget": ["shop"],
        "PodMonitor": ["shop"],
        "Service": ["shop", "shop-jobs"],
        "ServiceAccount": ["shop"],
        "StatefulSet": ["shop-jobs"],
    }


def test_one_process_runs_the_jobs_and_the_others_only_serve(tmp_path: Path) -> None:
    manifests = platform_manifests(new_release(tmp_path, EVERYTHING))
    serving = one(manifests, "Deployment", "shop")["spec"]
    shared = one(manifests, "Deployment", "shop-shared-jobs")["spec"]
    jobs = one(manifests, "StatefulSet", "shop-jobs")["spec"]
    assert arguments(serving)[-2:] == ["--jobs", "none"]
    assert arguments(shared)[-2:] == ["--jobs", "shared"]
    assert "--jobs" not in arguments(jobs)
    assert jobs["replicas"] == 1
    assert [claim["metadata"]["name"] for claim in jobs["volumeClaimTemplates"]] == ["var"]
    # Otherwise each rendering would undo what the autoscaler has decided.
    assert "replicas" not in serving
    budget = one(manifests, "PodDisruptionBudget", "shop")["spec"]
    assert budget["selector"]["matchLabels"] == serving["selector"]["matchLabels"]


def arguments(spec: dict[str, Any]) -> list[str]:
    (container,) = spec["template"]["spec"]["containers"]
    return [*container["command"], *container["args"]]


def test_a_single_process_has_no_disruption_budget(tmp_path: Path) -> None:
    alone = {"settings": KAFKA, "serving": {"replicas": 1}}
    assert "PodDisruptionBudget" not in kinds(platform_manifests(new_release(tmp_path, alone)))


def test_services_and_workloads_find_their_own_pods_only(manifests: list[dict[str, Any]]) -> None:
    pods = {each["metadata"]["name"]: pod for each in manifests for pod in pods_of(each)}
    for service in (each for each in manifests if each["kind"] == "Service"):
        wanted = service["spec"]["selector"].items()
        found = [name for name, pod in pods.items() if wanted <= pod["metadata"]["labels"].items()]
        assert found == [service["metadata"]["name"]]
    for workload in (each for each in manifests if pods_of(each)):
        wanted = workload["spec"]["selector"]["matchLabels"].items()
        found = [name for name, pod in pods.items() if wanted <= pod["metadata"]["labels"].items()]
        assert found == [workload["metadata"]["name"]]


def test_command_lines_are_those_of_this_release(manifests: list[dict[str, Any]]) -> None:
    tried = 0
    for manifest in manifests:
        for pod in pods_of(manifest):
            (container,) = pod["spec"]["containers"]
            program, verb, *options = [*container["command"], *container["args"]]
            assert program == "headwater"
            context = click.Context(main, info_name="headwater")
            command = main.get_command(context, verb)
            assert command is not None
            parsed = command.make_context(verb, list(options), parent=context).params
            assert parsed["project"] == Path("/srv/project")
            assert (parsed["host"], parsed["port"]) == ("0.0.0.0", container["ports"][0]["containerPort"])
            tried += 1
    assert tried


def test_pods_run_as_nobody_on_a_read_only_file_system(manifests: list[dict[str, Any]]) -> None:
    for manifest in manifests:
        for pod in pods_of(manifest):
            (container,) = pod["spec"]["containers"]
            assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
            assert pod["spec"]["securityContext"]["runAsUser"] > 0
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"] is True
            assert security["allowPrivilegeEscalation"] is False
            assert security["capabilities"] == {"drop": ["ALL"]}
            writable = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
            assert writable == {"/srv/project/var", "/tmp"}
            volumes = {volume["name"] for volume in pod["spec"]["volumes"]}
            volumes |= {claim["metadata"]["name"] for claim in manifest["spec"].get("volumeClaimTemplates", [])}
            assert {mount["name"] for mount in container["volumeMounts"]} == volumes


def test_a_pod_is_given_the_time_that_the_server_may_take_to_stop(manifests: list[dict[str, Any]]) -> None:
    assert STOP_SECONDS_MAX == SECONDS_MAX
    for pod in (pod for manifest in manifests for pod in pods_of(manifest)):
        (container,) = pod["spec"]["containers"]
        waits = int(container["lifecycle"]["preStop"]["exec"]["command"][-1])
        assert pod["spec"]["terminationGracePeriodSeconds"] == GRACE_SECONDS > waits + SECONDS_MAX


def test_secrets_are_named_and_never_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_USER", "geheimer-name")
    release = new_release(tmp_path, EVERYTHING)
    secret = release.config.project_dir / "secrets" / "kafka-password"
    secret.parent.mkdir()
    secret.write_text("geheim\n")
    manifests = platform_manifests(new_release(tmp_path, EVERYTHING))
    assert "geheim" not in yaml_documents(manifests)
    assert "Secret" not in kinds(manifests)
    (container,) = one(manifests, "Deployment", "shop")["spec"]["template"]["spec"]["containers"]
    (variable,) = [each for each in container["env"] if each["name"] == "KAFKA_USER"]
    assert variable["valueFrom"] == {"secretKeyRef": {"name": "shop", "key": "KAFKA_USER"}}
    (mount,) = [each for each in container["volumeMounts"] if each["mountPath"].startswith("/srv/project/secrets")]
    assert (mount["mountPath"], mount["subPath"]) == ("/srv/project/secrets/kafka-password", "kafka-password")


def test_the_same_project_gives_the_same_bytes(tmp_path: Path) -> None:
    one_time = yaml_documents(platform_manifests(new_release(tmp_path / "a", EVERYTHING)))
    another = yaml_documents(platform_manifests(new_release(tmp_path / "b", EVERYTHING)))
    assert one_time == another


def test_pods_are_replaced_when_the_settings_change(tmp_path: Path) -> None:
    def checksums(written: dict[str, Any]) -> set[str]:
        manifests = platform_manifests(new_release(tmp_path, written))
        return {pod["metadata"]["annotations"][CHECKSUM] for each in manifests for pod in pods_of(each)}

    before, after = checksums({"settings": KAFKA}), checksums({"settings": {**KAFKA, "jobs": {"processes": 2}}})
    assert len(before) == len(after) == 1
    assert before != after


def test_names_are_labels(manifests: list[dict[str, Any]]) -> None:
    for manifest in manifests:
        assert LABEL.fullmatch(manifest["metadata"]["name"])
        assert len(manifest["metadata"]["name"]) <= 63


def test_the_platform_leaves_jobs_to_flink_without_asking_a_cluster(tmp_path: Path) -> None:
    release = new_release(tmp_path, {"settings": {**KAFKA, "flink": {"jobs": ["page_edits"]}}})
    (project := release.config.project_dir).joinpath(CONFIG_FILE).write_text(release.settings)
    assert build(load_config(project, environment={})).on_flink == {"page_edits"}
