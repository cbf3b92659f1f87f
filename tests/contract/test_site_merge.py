"""The farm's merge by site, as its own class answered, and the real configuration of several wikis made with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from headwater.streams.legacy import site
from requirements import at_least_one


@pytest.fixture(scope="module")
def streams_dir(fixtures_dir: Path) -> Path:
    return fixtures_dir / "streams"


def test_every_case_has_the_value_of_the_original_in_its_order(streams_dir: Path) -> None:
    cases = json.loads((streams_dir / "site_merge_cases.json").read_text(encoding="utf-8"))["cases"]
    wrong = [
        case["name"]
        for case in cases
        if json.dumps(site.value_for(case["setting"], case["wiki"], case["tags"])) != json.dumps(case["value"])
    ]
    assert wrong == []


def test_the_effective_configuration_of_real_wikis_is_the_originals(streams_dir: Path) -> None:
    main = yaml.safe_load((streams_dir / "wikimedia_streams.yaml").read_text(encoding="utf-8"))
    overrides = yaml.safe_load((streams_dir / "wikimedia_streams_overrides.yaml").read_text(encoding="utf-8"))
    expected = json.loads((streams_dir / "wikimedia_effective_diffs.json").read_text(encoding="utf-8"))
    for wiki, wanted in at_least_one(expected["sites"]).items():
        realm, name = ("beta", wiki.removeprefix("labs_")) if wiki.startswith("labs_") else ("production", wiki)
        setting = {"default": main["streams"], **overrides["production"]["streams"]}
        if realm == "beta":
            setting |= overrides["beta"]["streams"]
        groups = [group for group, sites in overrides["site_groups"].items() if name in sites]
        effective: dict[str, Any] = site.value_for(setting, name, groups)
        assert list(effective)[: len(wanted["order_head"])] == wanted["order_head"]
        assert len(effective) == wanted["stream_count"]
        for stream, settings in wanted["streams_that_differ"].items():
            assert effective[stream] == settings, (wiki, stream)
