"""The page about the rules of schema repositories names every rule as the code has it; its settings are understood."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from headwater.schemas.rules import RULES, read_policy
from headwater.schemas.workspace.working_settings import WorkingSettings, with_values

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def page() -> str:
    return (DOCS / "reference/schema-rules.md").read_text(encoding="utf-8")


def test_every_rule_stands_in_the_page_with_its_severity_and_meaning(page: str) -> None:
    rows = re.findall(r"^\| `([a-z$-]+)` \| (error|warning|note) \| (.+) \|$", page, re.MULTILINE)
    assert rows == [(rule.id, rule.severity.value, rule.meaning) for rule in RULES.values()]


def test_the_settings_in_the_page_are_understood(page: str) -> None:
    (text,) = re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    settings = with_values(WorkingSettings(base_path=Path()), yaml.load(text, yaml.BaseLoader), root=Path())
    policy = read_policy(settings)
    assert policy.severity("dt-present") == "error"
    assert policy.severity("name-reserved-in-sql") is None
    assert len(policy.waivers) == 1


def test_hooks_in_the_guide_are_those_the_repository_offers() -> None:
    text = (DOCS / "how-to/check-schemas-in-ci.md").read_text(encoding="utf-8")
    first, workflow = (
        yaml.safe_load(block) for block in re.findall(r"^```yaml[^\n]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    )
    offered = {hook["id"] for hook in yaml.safe_load((DOCS.parent / ".pre-commit-hooks.yaml").read_text())}
    assert {hook["id"] for hook in first["repos"][0]["hooks"]} == offered
    assert any("headwater schema check" in step.get("run", "") for step in workflow["jobs"]["check"]["steps"])
