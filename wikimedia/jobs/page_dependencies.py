"""Which pages use what has changed, by the rules of page_dependencies.yaml."""

from pathlib import Path

from headwater.jobs.rules.jobs import rule_jobs

FILE = Path(__file__).parent.parent / "page_dependencies.yaml"

page_dependencies_rules, page_dependencies = rule_jobs("page_dependencies", FILE)
