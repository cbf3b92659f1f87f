"""The engine's own errors as findings: for dialects the legacy validator never had, and if the walk finds none."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jsonschema_rs

from headwater.schemas.validation.formats import FORMAT_PATTERNS
from headwater.schemas.violation import KeywordViolation, Place, fragment_step

_FORMAT_OF = {pattern: name for name, pattern in FORMAT_PATTERNS.items()}
_OURS = "headwater-"


def engine_findings(errors: Iterable[jsonschema_rs.ValidationError], findings_max: int) -> list[KeywordViolation]:
    """Findings in the engine's order, at most `findings_max`."""
    findings: list[KeywordViolation] = []
    for error in errors:
        findings.extend(_findings_of(error))
        if len(findings) >= findings_max:
            break
    return findings[:findings_max]


def _findings_of(error: jsonschema_rs.ValidationError) -> Iterable[KeywordViolation]:
    place = Place()
    for step in error.instance_path:
        place = place.item(step) if isinstance(step, int) else place.property(step)
    path = "#" + "".join(fragment_step(str(step)) for step in error.schema_path)
    kind: Any = error.kind
    name = kind.name
    if name in ("additionalProperties", "unevaluatedProperties"):
        for extra in kind.unexpected:
            params = {"additionalProperty": extra}
            yield KeywordViolation(name, place, path, params, "should NOT have additional properties")
    elif name == "required":
        message = f"should have required property '{kind.property}'"
        yield KeywordViolation(name, place, path, {"missingProperty": kind.property}, message)
    elif name == "type":
        types = ",".join(kind.types)
        yield KeywordViolation(name, place, path, {"type": types}, f"should be {types}")
    elif name == "pattern" and kind.pattern in _FORMAT_OF:
        yield _format_finding(_FORMAT_OF[kind.pattern], place, path.removesuffix("pattern") + "format")
    elif name == "format":
        yield _format_finding(kind.format.removeprefix(_OURS), place, path)
    elif name == "headwaterDivisibleBy":
        yield KeywordViolation("multipleOf", place, path.replace(name, "multipleOf"), {}, "should be a multiple")
    else:
        yield KeywordViolation(name, place, path, {}, _sentence(error.message))


def _format_finding(name: str, place: Place, path: str) -> KeywordViolation:
    return KeywordViolation("format", place, path, {"format": name}, f'should match format "{name}"')


def _sentence(message: str) -> str:
    text = message.splitlines()[0]
    return text if len(text) <= 300 else text[:300] + "…"
