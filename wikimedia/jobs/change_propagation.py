"""What changes of wikis lead to in other services, by the rules of change_propagation.yaml."""

from pathlib import Path

from headwater.jobs.rules.jobs import rule_jobs

FILE = Path(__file__).parent.parent / "change_propagation.yaml"

change_propagation_rules, change_propagation = rule_jobs("change_propagation", FILE)
