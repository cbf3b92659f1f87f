"""A job as an application of Flink's operator: valid for its definition, and with what keeps a job's results right."""

from __future__ import annotations

import copy
import shutil
import zipfile
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from deploying.flink_operator import require_valid_deployment
from deploying.projects import KAFKA, WITH_SECRETS, new_project, new_release
from deploying.schemas import require_valid
from headwater.deploy import container_files
from headwater.deploy.flink_manifests import ENTRY, S3_KEYS, Backfill, flink_manifests, java_options
from headwater.deploy.names import LABEL
from headwater.deploy.pods import CHECKSUM
from headwater.deploy.written_yaml import yaml_documents
from headwater.errors import ConfigInvalid, JobInvalid
from headwater.processing.flink import connector_jar
from headwater.processing.flink.asked import parse_arguments
from headwater.processing.flink.plan import MAX_PARALLELISM
from requirements import check_need
from servers.flink import flink_python

JOBS = """
from headwater.jobs import job

@job(source="demo.edit", sink="demo.page_edits:1.0.0", key="wiki", state=int)
def counted(edit, context):
    context.state += 1

@job(source="demo.edit", sink="demo.page_edits:1.0.0")
async def called(edit, context):
    return edit

@job(source="demo.edit", sink="demo.page_edits:1.0.0")
def a_name_that_is_far_too_long_for_an_application_of_flink_in_kubernetes(edit, context):
    return edit
"""
FLINK = {"image": "registry.example.org/shop-flink:1.4.0", "storage": "s3://shop/flink/"}
EVERYTHING = {
    "settings": {**WITH_SECRETS, "flink": {"guarantee": "exactly-once", "checkpoint_seconds": 30}},
    "namespace": "events",
    "secret": "shop",
    "image_pull_secrets": ["registry"],
    "labels": {"team": "data"},
    "prometheus": "pod_monitor",
    "network": {"policies": True, "flink_operator_namespace": "flink-operator"},
    "flink": {
        **FLINK,
        "s3_endpoint": "https://s3.example.org",
        "s3_path_style": True,
        "s3_secret": "shop-s3",
        "high_availability": "zookeeper",
        "zookeeper": "zookeeper:2181",
        "upgrade": "savepoint",
        "job_managers": 2,
        "configuration": {"web.submit.enable": False, "state.backend.rocksdb.memory.managed": True},
        "jobs": {"counted": {"parallelism": 8, "task_manager_memory": "4g"}},
    },
}
ENVIRONMENTS: dict[str, dict[str, Any]] = {"least": {"settings": KAFKA, "flink": FLINK}, "everything": EVERYTHING}


def manifests_of(directory: Path, written: dict[str, Any], *names: str) -> list[dict[str, Any]]:
    if not (directory / "shop").exists():
        (new_project(directory) / "jobs" / "more.py").write_text(JOBS)
    return flink_manifests(new_release(directory, written), names)


def deployment(manifests: list[dict[str, Any]]) -> dict[str, Any]:
    (found,) = [manifest for manifest in manifests if manifest["kind"] == "FlinkDeployment"]
    return found


@pytest.mark.parametrize("which", list(ENVIRONMENTS))
def test_all_are_valid_for_the_published_schemas(tmp_path: Path, which: str) -> None:
    for name in ("counted", "called"):
        for manifest in manifests_of(tmp_path, ENVIRONMENTS[which], name):
            if manifest["kind"] == "FlinkDeployment":
                require_valid_deployment(manifest)
                # The definition does not look into `podTemplate`: Kubernetes' own schemas do.
                require_valid({**manifest["spec"]["podTemplate"], "metadata": {"name": "pod"}})
            else:
                require_valid(manifest)


def test_a_misspelt_key_anywhere_would_be_found(tmp_path: Path) -> None:
    manifest = deployment(manifests_of(tmp_path, EVERYTHING, "counted"))
    places = [("spec",), ("spec", "job"), ("spec", "jobManager"), ("spec", "jobManager", "resource")]
    tried = 0
    for place in [*places, ("spec", "taskManager"), ("spec", "taskManager", "resource"), ("spec", "podTemplate")]:
        within = manifest
        for part in place:
            within = within[part]
        for key in within:
            wrong = copy.deepcopy(manifest)
            target = wrong
            for part in place:
                target = target[part]
            target[f"{key}x"] = target.pop(key)
            with pytest.raises(jsonschema.ValidationError):
                require_valid_deployment(wrong)
            tried += 1
    assert tried > 25
    wrong = copy.deepcopy(manifest)
    wrong["spec"]["flinkVersion"] = "v2_3"
    with pytest.raises(jsonschema.ValidationError):
        require_valid_deployment(wrong)


def test_a_job_has_what_it_needs(tmp_path: Path) -> None:
    manifests = manifests_of(tmp_path, EVERYTHING, "counted")
    kinds = sorted(manifest["kind"] for manifest in manifests)
    assert kinds == [
        *("ConfigMap", "FlinkDeployment", "NetworkPolicy", "PodMonitor", "Role", "RoleBinding", "ServiceAccount")
    ]
    spec = deployment(manifests)["spec"]
    account = next(manifest for manifest in manifests if manifest["kind"] == "ServiceAccount")
    assert spec["serviceAccount"] == account["metadata"]["name"]
    settings = next(manifest for manifest in manifests if manifest["kind"] == "ConfigMap")["metadata"]["name"]
    volumes = {volume["name"]: volume for volume in spec["podTemplate"]["spec"]["volumes"]}
    assert volumes["settings"]["configMap"]["name"] == settings
    (container,) = spec["podTemplate"]["spec"]["containers"]
    assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)


def test_its_arguments_are_those_of_the_entry(tmp_path: Path) -> None:
    spec = deployment(manifests_of(tmp_path, EVERYTHING, "counted"))["spec"]
    module_option, module, *arguments = spec["job"]["args"]
    assert (module_option, module) == ("-pym", ENTRY)
    asked = parse_arguments(arguments)
    assert (asked.project, asked.job, asked.parallelism) == (Path("/srv/project"), "counted", 8)
    # Kubernetes has started the cluster: the entry adds the job to it.
    assert asked.cluster is None
    assert spec["job"]["parallelism"] == 8
    assert spec["taskManager"]["resource"]["memory"] == "4g"


def test_one_slot_for_each_python_and_the_mode_that_the_job_needs(tmp_path: Path) -> None:
    def options(name: str) -> dict[str, str]:
        found: dict[str, str] = deployment(manifests_of(tmp_path, EVERYTHING, name))["spec"]["flinkConfiguration"]
        return found

    assert options("counted")["python.execution-mode"] == "thread"
    assert options("called")["python.execution-mode"] == "process"
    assert options("counted")["taskmanager.numberOfTaskSlots"] == "1"
    assert options("counted")["pipeline.max-parallelism"] == str(MAX_PARALLELISM)
    assert options("counted")["execution.checkpointing.interval"] == "30000 ms"
    assert options("counted")["restart-strategy.type"] == "exponential-delay"
    assert options("counted")["web.submit.enable"] == "false"


@pytest.mark.parametrize("which", list(ENVIRONMENTS))
def test_what_survives_a_job_manager_is_in_one_place(tmp_path: Path, which: str) -> None:
    spec = deployment(manifests_of(tmp_path, ENVIRONMENTS[which], "counted"))["spec"]
    options = spec["flinkConfiguration"]
    for key in ("execution.checkpointing.dir", "execution.checkpointing.savepoint-dir", "high-availability.storageDir"):
        assert options[key].startswith("s3://shop/flink/shop-counted/")
    assert options["execution.checkpointing.externalized-checkpoint-retention"] == "RETAIN_ON_CANCELLATION"
    if which == "least":
        assert options["high-availability.type"] == "kubernetes"
        assert (spec["job"]["upgradeMode"], spec["jobManager"]["replicas"]) == ("last-state", 1)
    else:
        assert options["high-availability.type"] == "zookeeper"
        assert options["high-availability.zookeeper.quorum"] == "zookeeper:2181"
        assert (spec["job"]["upgradeMode"], spec["jobManager"]["replicas"]) == ("savepoint", 2)
        assert options["s3.endpoint"] == "https://s3.example.org"


def test_secrets_are_named_and_never_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KAFKA_USER", *S3_KEYS):
        monkeypatch.setenv(name, "geheim")
    manifests = manifests_of(tmp_path, EVERYTHING, "counted")
    assert "geheim" not in yaml_documents(manifests)
    (container,) = deployment(manifests)["spec"]["podTemplate"]["spec"]["containers"]
    found = {each["name"]: each.get("valueFrom", {}).get("secretKeyRef") for each in container["env"]}
    assert found["KAFKA_USER"] == {"name": "shop", "key": "KAFKA_USER"}
    assert found["AWS_SECRET_ACCESS_KEY"] == {"name": "shop-s3", "key": "AWS_SECRET_ACCESS_KEY"}


def test_the_same_bytes_until_the_settings_change(tmp_path: Path) -> None:
    one_time = yaml_documents(manifests_of(tmp_path / "a", EVERYTHING, "counted"))
    assert one_time == yaml_documents(manifests_of(tmp_path / "b", EVERYTHING, "counted"))
    other = copy.deepcopy(EVERYTHING)
    other["settings"]["flink"]["checkpoint_seconds"] = 20

    def checksum(written: dict[str, Any]) -> str:
        template = deployment(manifests_of(tmp_path / "a", written, "counted"))["spec"]["podTemplate"]
        found: str = template["metadata"]["annotations"][CHECKSUM]
        return found

    assert checksum(EVERYTHING) != checksum(other)


def test_a_long_name_becomes_one_that_the_operator_takes(tmp_path: Path) -> None:
    name = "a_name_that_is_far_too_long_for_an_application_of_flink_in_kubernetes"
    for manifest in manifests_of(tmp_path, ENVIRONMENTS["least"], name):
        made = manifest["metadata"]["name"]
        assert LABEL.fullmatch(made)
        assert len(made) <= (45 if manifest["kind"] == "FlinkDeployment" else 63)


def test_a_backfill_runs_next_to_the_job_and_shares_nothing_that_it_changes(tmp_path: Path) -> None:
    job = manifests_of(tmp_path, ENVIRONMENTS["least"], "counted")
    release = new_release(tmp_path, ENVIRONMENTS["least"])
    backfill = flink_manifests(release, ["counted"], Backfill("2026-11-01T00:00:00Z", "2026-11-08T00:00:00Z"))
    own = {(each["kind"], each["metadata"]["name"]) for each in backfill}
    shared = own & {(each["kind"], each["metadata"]["name"]) for each in job}
    assert {kind for kind, _ in own - shared} == {"ConfigMap", "FlinkDeployment"}
    assert {kind for kind, _ in shared} == {"Role", "RoleBinding", "ServiceAccount"}
    require_valid_deployment(deployment(backfill))
    spec = deployment(backfill)["spec"]
    asked = parse_arguments(spec["job"]["args"][2:])
    assert (asked.job, asked.is_bounded, asked.release) == ("counted", True, "backfill-202611010000-202611080000")
    assert spec["job"]["upgradeMode"] == "stateless"
    storage = {spec["flinkConfiguration"]["high-availability.storageDir"] for spec in (spec, deployment(job)["spec"])}
    assert len(storage) == 2


def test_what_flink_cannot_run_is_refused_with_all_reasons(tmp_path: Path) -> None:
    with pytest.raises(JobInvalid) as raised:
        manifests_of(tmp_path, {"settings": {}, "flink": FLINK}, "table.most_edited_pages")
    assert "SQLite" in raised.value.message
    assert "it fills a table" in raised.value.message
    with pytest.raises(ConfigInvalid, match="There is no job count") as unknown:
        manifests_of(tmp_path, ENVIRONMENTS["least"], "count")
    assert unknown.value.hint == 'Did you mean "counted"?'


@pytest.mark.parametrize(
    ("flink", "says"),
    [
        ({"storage": "s3://b/p"}, "flink.image"),
        ({"image": "shop:1"}, "flink.storage"),
        ({**FLINK, "high_availability": "zookeeper"}, "no flink.zookeeper"),
    ],
)
def test_what_is_missing_in_the_environment_is_said(tmp_path: Path, flink: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigInvalid, match=says):
        manifests_of(tmp_path, {"settings": KAFKA, "flink": flink}, "counted")


def test_the_archive_is_the_one_that_other_ways_of_running_use() -> None:
    own = connector_jar
    assert container_files.CONNECTOR == (own.GROUP, own.ARTIFACT, own.VERSION)
    assert container_files.CONNECTOR_SHA256 == own.SHA256


def test_every_option_is_one_of_flink(tmp_path: Path) -> None:
    """Flink ignores options that it does not know, so a misspelt one would be found by nobody else."""
    python = flink_python()
    check_need("flink", shutil.which(python), "make flink")
    library = next(python.parent.parent.glob("lib/python*/site-packages/pyflink"))
    options = deployment(manifests_of(tmp_path, EVERYTHING, "counted"))["spec"]["flinkConfiguration"]
    # Options of the S3 plugin, which is part of the image only; and the free part of a name.
    wanted = {key.replace("reporter.prometheus.", "reporter.") for key in options if not key.startswith("s3.")}
    wanted -= {key for key in wanted if key.startswith("metrics.reporter.")}
    known = b""
    for archive in (library / "lib" / "flink-dist-2.2.1.jar", library / "opt" / "flink-python-2.2.1.jar"):
        with zipfile.ZipFile(archive) as opened:
            names = [name for name in opened.namelist() if name.endswith("Options.class") and "/flink/" in name]
            known += b"".join(map(opened.read, names))
    unknown = {key for key in wanted if key.encode() not in known}
    assert unknown == set()
    assert b"restart-strategy.typo" not in known


def test_java_is_started_as_flink_starts_it() -> None:
    python = flink_python()
    check_need("flink", shutil.which(python), "make flink")
    (shipped,) = python.parent.parent.glob("lib/python*/site-packages/pyflink/conf/config.yaml")
    wanted = yaml.safe_load(shipped.read_text())["env"]["java"]["opts"]["all"]
    assert sorted(java_options().split()) == sorted(wanted.split())
