"""The file of an environment: typed, and precise about what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deploying.projects import IMAGE, environment_of
from headwater.deploy.environment import require_environment
from headwater.errors import ConfigInvalid


def test_what_is_not_written_has_its_default(tmp_path: Path) -> None:
    environment = environment_of(tmp_path, {"serving": {"replicas": 3}, "labels": {"team": "data"}})
    assert (environment.image, environment.serving.replicas, environment.serving.cpu) == (IMAGE, 3, "500m")
    assert environment.labels == {"team": "data"}


def test_a_job_has_the_options_of_all_but_for_its_own(tmp_path: Path) -> None:
    written = {
        "flink": {"parallelism": 2, "upgrade": "savepoint", "jobs": {"enrich": {"parallelism": 8}, "plain": None}}
    }
    environment = environment_of(tmp_path, written)
    assert environment.flink_options("enrich").parallelism == 8
    assert environment.flink_options("enrich").upgrade == "savepoint"
    assert environment.flink_options("plain").parallelism == environment.flink_options("others").parallelism == 2


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ({"serving": {"replica": 3}}, 'unknown key "replica" in serving. Did you mean "replicas"?'),
        ({"imag": IMAGE}, 'Did you mean "image"?'),
        ({"flink": {"jobs": {"enrich": {"paralelism": 3}}}}, 'Did you mean "parallelism"?'),
        ({"flink": {"jobs": {"enrich": {"parallelism": 129}}}}, "must be at most 128"),
        ({"flink": {"jobs": {"enrich": 4}}}, "must be a mapping"),
        ({"flink": {"jobs": {"enrich": {"jobs": {}}}}}, "unknown key"),
        ({"flink": {"task_manager_memory": "2Gi"}}, "'2Gi' is no size of memory"),
        ({"flink": {"image": "shop-flink"}}, "has neither a tag nor a digest"),
        ({"flink": {"high_availability": "zookeper"}}, 'Did you mean "zookeeper"?'),
        ({"flink": {"storage": "hdfs://there"}}, 'must start with "s3://"'),
        ({"serving": {"replicas": 0}}, "at least 1"),
        ({"serving": {"replicas": 4, "replicas_max": 3}}, "3 is not more than serving.replicas, 4"),
        ({"image": "registry.example.org:5000/shop"}, "has neither a tag nor a digest"),
        ({"namespace": "My_Space"}, "cannot name objects of Kubernetes"),
        ({"jobs": {"memory": "one gigabyte"}}, "is not a quantity"),
        ({"serving": []}, "must be a mapping"),
    ],
)
def test_what_is_wrong_is_said_with_the_line(tmp_path: Path, written: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigInvalid) as raised:
        environment_of(tmp_path, written)
    assert says in f"{raised.value.message} {raised.value.hint}"
    assert f"{tmp_path}/deploy.yaml" in raised.value.message


@pytest.mark.parametrize("image", [IMAGE, "shop:1", f"registry:5000/shop@sha256:{'0' * 64}"])
def test_images_have_a_tag_or_a_digest(tmp_path: Path, image: str) -> None:
    assert environment_of(tmp_path, {"image": image}).image == image


def test_without_a_file_it_is_said_what_to_write(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"deploy\.yaml is not there"):
        require_environment(tmp_path, None)
