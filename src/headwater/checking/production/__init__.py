"""The path to production: what a project needs before people depend on it, asked by `headwater check --production`."""

from headwater.checking.production.requirements import REQUIREMENTS, Requirement, missing
from headwater.checking.production.statements import STATEMENTS_FILE, Statements

__all__ = ["REQUIREMENTS", "STATEMENTS_FILE", "Requirement", "Statements", "missing"]
