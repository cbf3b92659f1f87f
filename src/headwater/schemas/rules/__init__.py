"""The rules for schema repositories, with stable ids, and the check that applies them."""

from headwater.finding import Rule, Severity
from headwater.schemas.rules.catalogue import RULES
from headwater.schemas.rules.checking import CheckResult, check_schemas
from headwater.schemas.rules.policy import Policy, Waiver, read_policy
from headwater.schemas.rules.rule import SchemaFinding

__all__ = [
    "RULES",
    "CheckResult",
    "Policy",
    "Rule",
    "SchemaFinding",
    "Severity",
    "Waiver",
    "check_schemas",
    "read_policy",
]
