"""The results of a comparison: a verdict, and for every "no" what breaks, where, an instance, and what to do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from headwater.errors import Violation

Verdict = Literal["yes", "no", "unknown", "n/a"]
ContentModel = Literal["declared", "strict"]


@dataclass(frozen=True, slots=True)
class Reason:
    """One way in which an answer is "no".

    `pointer` is the place in the data (JSON pointer, "" is the root), `schema_pointer` the rule that refuses it, and
    `keyword` that rule's name. `witness` is an instance that one schema accepts and the other refuses, validated
    against both before it is shown; a broken column has none.
    """

    pointer: str
    keyword: str
    sentence: str
    fix: str
    schema_pointer: str = ""
    witness: Any = None

    def as_json(self, *, with_witness: bool = True) -> dict[str, Any]:
        plain = {
            "pointer": self.pointer,
            "keyword": self.keyword,
            "sentence": self.sentence,
            "fix": self.fix,
            "schema_pointer": self.schema_pointer,
        }
        return {**plain, "witness": self.witness} if with_witness else plain


@dataclass(frozen=True, slots=True)
class Answer:
    """`doubt` ends the sentence "not known, because …" and is empty unless the verdict is "unknown" or "n/a"."""

    verdict: Verdict
    reasons: tuple[Reason, ...] = ()
    doubt: str = ""

    @property
    def is_yes(self) -> bool:
        return self.verdict == "yes"

    @property
    def witness(self) -> Any:
        """The instance of the first reason; None without a reason."""
        return self.reasons[0].witness if self.reasons else None

    def as_json(self, *, with_witness: bool = True) -> dict[str, Any]:
        reasons = [reason.as_json(with_witness=with_witness) for reason in self.reasons]
        return {"verdict": self.verdict, "reasons": reasons} | ({"doubt": self.doubt} if self.doubt else {})


@dataclass(frozen=True, slots=True)
class Comparison:
    """The effect on data and tables of the change from one schema to the next.

    `backward`: data of the old schema is data of the new one (new readers read old data). `forward`: the reverse.
    `storage`: a table of the old schema holds the new data after adding nullable columns; "n/a" if a side has no fixed
    column type. `annotations_only`: nothing but documentation differs.
    """

    backward: Answer
    forward: Answer
    storage: Answer
    content_model: ContentModel
    annotations_only: bool

    @property
    def full(self) -> Verdict:
        """Both directions at once."""
        verdicts = (self.backward.verdict, self.forward.verdict)
        return "no" if "no" in verdicts else "unknown" if "unknown" in verdicts else "yes"

    def as_json(self) -> dict[str, Any]:
        return {
            "content_model": self.content_model,
            "backward": self.backward.as_json(),
            "forward": self.forward.as_json(),
            "storage": self.storage.as_json(with_witness=False),
            "annotations_only": self.annotations_only,
            "suggested_bump": suggest_bump(self),
        }


def suggest_bump(comparison: Comparison) -> Literal["major", "minor", "patch"]:
    """Patch if only documentation differs; minor if new readers read old data and tables can be kept; else major."""
    if comparison.annotations_only:
        return "patch"
    return "minor" if comparison.backward.is_yes and comparison.storage.verdict in ("yes", "n/a") else "major"


_FIXES: Mapping[str, str] = {
    "type": "Keep the type; add a field with another name for another type.",
    "required": "Keep the field as optional as it was; document in its description when it is set.",
    "dependencies": "Keep the fields as independent as they were.",
    "additionalProperties": "Declare every name that may occur.",
    "unevaluatedProperties": "Declare every name that may occur.",
    "propertyNames": "Keep accepting every name that was accepted.",
    "enum": "Keep every value that was listed; add new ones to the list.",
    "const": "Keep the value; to allow more values, use an `enum` that contains it.",
    "format": "Keep the format; add a field with another name for another format.",
    "pattern": "Use an expression that matches everything the previous one matched.",
    "false schema": "Keep the field allowed.",
    "oneOf": "Keep every branch, and keep them disjoint: data must match exactly one.",
    "anyOf": "Keep every branch that was there.",
    "not": "Exclude no more than before.",
    "if": "Require no more under the condition than before.",
    "multipleOf": "Use a divisor of the previous `multipleOf`.",
    "uniqueItems": "Keep allowing repeated elements.",
    "contains": "Require no more of the elements than before.",
}
_VALUE_CHARACTERS_MAX = 40
_BOUNDS = ("min", "max", "exclusive")


def sentence_for(violation: Violation, witness: Any, reader: str) -> str:
    """A sentence about an instance; `reader` ("old" or "new") is the side that refuses it."""
    writer = "Old" if reader == "new" else "New"
    value = json.dumps(_at(witness, violation.pointer), ensure_ascii=False)
    shown = f"{value} " if len(value) <= _VALUE_CHARACTERS_MAX else ""
    where = f"at {violation.pointer}" if violation.pointer else "as the whole event"
    what = f"{writer} data may have {shown or 'a value '}{where}"
    return f"{what}, which the {reader} schema refuses: it {violation.message}."


def _at(value: Any, pointer: str) -> Any:
    for step in pointer.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict) and name in value:
            value = value[name]
        elif isinstance(value, list) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        else:
            return None
    return value


def fix_for(keyword: str, reader: str) -> str:
    """What to change if a rule refuses data of the other side; old readers cannot be changed, only upgraded."""
    if reader == "old":
        return f"Upgrade readers before writers, or keep `{keyword}` as it was."
    if keyword.startswith(_BOUNDS):
        return f"Keep `{keyword}` no narrower than it was."
    return _FIXES.get(keyword, "Keep the rule as it was.")
