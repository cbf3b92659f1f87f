"""Whether data stays valid under a new version of its schema: verdicts with witnesses, modes, and the legacy rule."""

from headwater.schemas.compatibility.answer import Answer, Comparison, Reason, suggest_bump
from headwater.schemas.compatibility.legacy import legacy_refusal
from headwater.schemas.compatibility.modes import Incompatibility, Mode, check_evolution, judge, mode_named
from headwater.schemas.compatibility.verdict import compare

__all__ = [
    "Answer",
    "Comparison",
    "Incompatibility",
    "Mode",
    "Reason",
    "check_evolution",
    "compare",
    "judge",
    "legacy_refusal",
    "mode_named",
    "suggest_bump",
]
