"""What the owners of a repository decided about the rules: the compatibility mode, severities, and waivers.

It is in the settings file under the key `headwater`, which jsonschema-tools ignores.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from headwater.declaration import suggestion
from headwater.errors import ConfigInvalid
from headwater.finding import Severity
from headwater.schemas.rules.catalogue import RULES
from headwater.schemas.workspace.working_settings import SETTINGS_FILE, WorkingSettings
from headwater.times import day_of

OFF = "off"
ORIGINAL = "jsonschema-tools"
# Ours in name only: if a file cannot be read or materialized, the tests of jsonschema-tools end with an error.
_NEEDED = frozenset(("schema-readable", "schema-materializes"))
# The names of compatibility.Mode, repeated here because reading settings must not load the engine.
MODES = (
    *("NONE", "BACKWARD", "BACKWARD_TRANSITIVE", "FORWARD", "FORWARD_TRANSITIVE", "FULL", "FULL_TRANSITIVE"),
    *("EVENT", "LEGACY"),
)


@dataclass(frozen=True, slots=True)
class Waiver:
    """Findings of a rule that are accepted until a day, with the reason.

    `schema` is a pattern (`*`, `?`) for the title or the URI of a version; `pointer` the beginning of the place, "" for
    any.
    """

    rule: str
    schema: str
    reason: str
    until: datetime.date
    pointer: str = ""

    def covers(self, rule: str, title: str, uri: str, pointer: str) -> bool:
        """Whether it matches a finding, whether or not it has expired."""
        named = fnmatchcase(title, self.schema.strip("/")) or fnmatchcase(uri.strip("/"), self.schema.strip("/"))
        inside = pointer == self.pointer or pointer.startswith(self.pointer.rstrip("/") + "/") or not self.pointer
        return rule == self.rule and named and inside


@dataclass(frozen=True)
class Policy:
    """`severities` holds those that differ from the rules' own; "off" disables a rule.

    With `as_original` only the rules of jsonschema-tools are applied, as it applies them, and those that `severities`
    names.
    """

    mode: str = "EVENT"
    severities: Mapping[str, str] = field(default_factory=dict)
    waivers: tuple[Waiver, ...] = ()
    as_original: bool = False

    def severity(self, rule: str, own: Severity | None = None) -> Severity | None:
        """The severity of a rule here; None if it is disabled."""
        named = self.severities.get(rule)
        if named is None:
            is_asked = not self.as_original or RULES[rule].original or rule in _NEEDED
            return (own or RULES[rule].severity) if is_asked else None
        return None if named == OFF else Severity(named)


def read_policy(settings: WorkingSettings, *, as_original: bool = False) -> Policy:
    """The policy in the settings, or the rules that jsonschema-tools applies with them.

    Raises ConfigInvalid for unknown rules and modes and for waivers without reason.
    """
    own: Mapping[str, Any] = (settings.checking or {}) if not as_original else {"check_as": ORIGINAL}
    named = own.get("check_as", ORIGINAL)
    if named != ORIGINAL:
        raise _refusal(f"`headwater.check_as` is {named!r}.", f"Write `check_as: {ORIGINAL}`, or leave it out.")
    as_original = "check_as" in own
    mode = own.get("compatibility", "LEGACY" if as_original else "EVENT")
    mode = mode.upper().replace("-", "_") if isinstance(mode, str) else mode
    if mode not in MODES:
        raise _refusal(f"`headwater.compatibility` is {mode!r}.", f"The modes are {', '.join(MODES)}.")
    rules = own.get("rules") or {}
    if not isinstance(rules, dict):
        raise _refusal("`headwater.rules` is not a mapping.", "Write `rule-id: warning`, one per line.")
    for rule, severity in rules.items():
        _known_rule(rule, "headwater.rules")
        # An unquoted `off` is text in YAML 1.2; `false` means the same.
        if severity is not False and severity not in (*Severity, OFF):
            raise _refusal(
                f"`headwater.rules.{rule}` is {severity!r}.",
                "Severities are error, warning and note; `off` disables the rule.",
            )
    waivers = own.get("waivers") or []
    if not isinstance(waivers, list):
        raise _refusal("`headwater.waivers` is not a list.", "Give each waiver `rule`, `schema`, `reason` and `until`.")
    severities = {rule: OFF if severity is False else severity for rule, severity in rules.items()}
    return Policy(mode, severities, tuple(_waiver(entry, at) for at, entry in enumerate(waivers)), as_original)


def _waiver(entry: Any, at: int) -> Waiver:
    where = f"headwater.waivers[{at}]"
    texts = isinstance(entry, dict) and all(isinstance(value, str) for value in entry.values())
    if not texts or set(entry) - {"rule", "schema", "reason", "until", "pointer"}:
        raise _refusal(
            f"`{where}` is not a valid waiver.", "Give `rule`, `schema`, `reason`, `until`, and optionally `pointer`."
        )
    for key in ("rule", "schema", "reason", "until"):
        if not entry.get(key, "").strip():
            raise _refusal(f"`{where}` has no `{key}`.", "A waiver needs a rule, a schema, a reason and a last day.")
    _known_rule(entry["rule"], where)
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", entry["until"]):
        raise _refusal(f"`{where}.until` is {entry['until']!r}.", "Write a day, as in 2030-12-31.")
    try:
        until = day_of(entry["until"])
    except ValueError:
        raise _refusal(f"`{where}.until` is not a day: {entry['until']}.", "Write a day, as in 2030-12-31.") from None
    return Waiver(entry["rule"], entry["schema"], entry["reason"].strip(), until, entry.get("pointer", ""))


def _known_rule(rule: Any, where: str) -> None:
    if rule not in RULES:
        raise _refusal(f"`{where}` names the unknown rule {rule!r}.", suggestion(str(rule), RULES))


def _refusal(message: str, hint: str) -> ConfigInvalid:
    return ConfigInvalid(message, file=SETTINGS_FILE, hint=hint)
