"""What a revision may change: its rules must be complete, name declared streams, and set only what is safe to set.

How this works: a rule must not break a running service, so it may only change how producers behave, and how a stream is
monitored and described; schemas, topics and keys are changed in the files, by review. A rule is applied to the declared
streams before it is accepted, so a key or value that a stream file may not have is refused with the same message.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headwater.control.revision import ALL_STREAMS, RULES_MAX, Rule, State
from headwater.declaration import Declaration
from headwater.errors import ChangeRefused, ConfigInvalid, StreamUnknown
from headwater.streams.layers import Scope
from headwater.streams.registry import StreamRegistry
from headwater.streams.stream_format import check_patch

# What may be set, as dotted prefixes.
ALLOWED = ("produce.enabled", "produce.sample", "produce.client", "produce.by", "monitor", "docs", "lifecycle")


def check_rule(rule: Rule, declared: StreamRegistry) -> None:
    """Raise ChangeRefused for a rule that is not allowed."""
    if not rule.set and not rule.unset:
        raise ChangeRefused(f"The rule {rule.id!r} has no effect.", hint="Add `set` or `unset`.")
    for path in (*_paths(rule.set), *rule.unset):
        if not any(path == allowed or path.startswith(f"{allowed}.") for allowed in ALLOWED):
            raise ChangeRefused(
                f"{path!r} cannot be changed at run time.",
                hint=f"Change the stream's file instead. A revision may change {', '.join(ALLOWED)}.",
            )
    if rule.stream != ALL_STREAMS and rule.stream not in declared.layers.entries:
        try:
            declared.get(rule.stream)
        except StreamUnknown as error:
            raise ChangeRefused(error.message, hint=error.hint) from None
        raise ChangeRefused(f"{rule.stream!r} is a member of a family.", hint="Use the pattern of the family instead.")
    _check_sample(rule)
    try:
        check_patch(Declaration(f"rule {rule.id}", {"set": dict(rule.set)}), ("set",), rule.set)
        # Without its conditions, so that a rule that applies only elsewhere, or later, is checked, too.
        layer = Rule(rule.id, rule.stream, rule.set, rule.unset).layer(0)
        declared.revised([layer]).seen_from(Scope(declared.scope.site, declared.scope.realm))
    except ConfigInvalid as error:
        raise ChangeRefused(error.message, hint=error.hint) from None


def check_state(state: State) -> None:
    """Raise ChangeRefused if a state would exceed its limits."""
    if len(state.rules) > RULES_MAX:
        raise ChangeRefused(
            f"There would be {len(state.rules)} rules; the limit is {RULES_MAX}.",
            hint="Remove rules that have ended, or move them into the files.",
        )


def _check_sample(rule: Rule) -> None:
    sample = rule.set.get("produce", {}).get("sample") if isinstance(rule.set.get("produce"), dict) else None
    if not isinstance(sample, dict):
        return
    rate = sample.get("rate")
    if rate is not None and (isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 <= rate <= 1):
        raise ChangeRefused("`produce.sample.rate` must be a number from 0 to 1.")


def _paths(block: Mapping[str, Any], above: str = "") -> list[str]:
    """The dotted paths of what a patch sets, down to two levels: as deep as `ALLOWED` goes."""
    found = []
    for name, value in block.items():
        path = f"{above}{name}"
        if isinstance(value, dict) and value and "." not in path:
            found += _paths(value, f"{path}.")
        else:
            found.append(path)
    return found
