"""The answers of a comparison: a verdict, and for every "no" what breaks, where, an instance, and the way out."""

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
    `keyword` that rule's name. `witness` is an instance that one schema accepts and the other refuses, judged by both
    before it is shown; a broken column has none.
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
        """The first reason's instance; None without a reason."""
        return self.reasons[0].witness if self.reasons else None

    def as_json(self, *, with_witness: bool = True) -> dict[str, Any]:
        reasons = [reason.as_json(with_witness=with_witness) for reason in self.reasons]
        return {"verdict": self.verdict, "reasons": reasons} | ({"doubt": self.doubt} if self.doubt else {})


@dataclass(frozen=True, slots=True)
class Comparison:
    """What changes for data and tables from one schema to the next.

    `backward`: data of the old schema is data of the new one (new readers read old data). `forward`: the reverse.
    `storage`: a table of the old schema holds the new data after adding nullable columns; "n/a" where a side has no
    fixed column type. `annotations_only`: nothing but documentation differs.
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
    """Patch where only documentation differs; minor where new readers read old data and tables live on; else major."""
    if comparison.annotations_only:
        return "patch"
    return "minor" if comparison.backward.is_yes and comparison.storage.verdict in ("yes", "n/a") else "major"


_FIXES: Mapping[str, str] = {
    "type": "Keep the type; give a field of another type another name.",
    "required": "Leave the field as optional as it was; say in its description when it is set.",
    "dependencies": "Leave the fields as independent as they were.",
    "additionalProperties": "Keep every name declared that may occur.",
    "unevaluatedProperties": "Keep every name declared that may occur.",
    "propertyNames": "Keep accepting every name that was accepted.",
    "enum": "Keep every value that was listed; add new ones beside them.",
    "const": "Keep the value; where there must be more of them, use an `enum` that holds it.",
    "format": "Keep the format as it was; give a field of another format another name.",
    "pattern": "Keep an expression that finds everything the former one found.",
    "false schema": "Keep the field allowed.",
    "oneOf": "Keep the branches apart and keep each of them: data must match exactly one.",
    "anyOf": "Keep every branch that was there.",
    "not": "Exclude no more than before.",
    "if": "Demand no more under the condition than before.",
    "multipleOf": "Keep a divisor of the former `multipleOf`.",
    "uniqueItems": "Leave repeats as they were.",
    "contains": "Demand no more of the elements than before.",
}
_VALUE_CHARACTERS_MAX = 40
_BOUNDS = ("min", "max", "exclusive")


def sentence_for(violation: Violation, witness: Any, reader: str) -> str:
    """What an instance shows, for people; `reader` ("old" or "new") is the side that refuses it."""
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
    """What to change when a rule refuses data of the other side; old readers cannot be changed, only moved."""
    if reader == "old":
        return f"Move readers to the new version before writers, or leave `{keyword}` as it was."
    if keyword.startswith(_BOUNDS):
        return f"Keep `{keyword}` no narrower than it was."
    return _FIXES.get(keyword, "Keep the rule as it was.")
