"""Every label of a metric says where its values come from, so that none grows with names that strangers make up."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from headwater.telemetry import Label, Telemetry

SOURCE = Path(__file__).resolve().parents[2] / "src" / "headwater"
KINDS = {"counter", "gauge", "histogram"}
SOURCES = {"closed", "declared", "bounded"}
# Whatever is counted where events and clients come in has names of theirs.
OPEN_ROOMS = ("intake", "consumption", "web")


def _instruments() -> Iterator[tuple[str, str, list[ast.expr]]]:
    """Place, name and labels of every instrument that is asked for."""
    for path in sorted(SOURCE.rglob("*.py")):
        if path.name == "telemetry.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in KINDS):
                continue
            if "telemetry" not in ast.unparse(node.func.value):
                continue
            given = [*node.args[2:3], *(word.value for word in node.keywords if word.arg == "labels")]
            labels = [
                one
                for tuple_ in given
                for one in (tuple_.elts if isinstance(tuple_, ast.Tuple | ast.List) else [tuple_])
            ]
            yield str(path.relative_to(SOURCE)), ast.unparse(node.args[0]), labels


INSTRUMENTS = list(_instruments())


def test_instruments_are_found() -> None:
    assert len(INSTRUMENTS) > 20
    assert sum(bool(labels) for _, _, labels in INSTRUMENTS) > 10


@pytest.mark.parametrize(
    ("place", "name", "labels"), INSTRUMENTS, ids=[f"{place}:{name}" for place, name, _ in INSTRUMENTS]
)
def test_labels_say_where_their_values_come_from(place: str, name: str, labels: list[ast.expr]) -> None:
    for label in labels:
        text = ast.unparse(label)
        assert isinstance(label, ast.Call), f"{place}: {name} has the label {text}; write closed, declared or bounded"
        assert ast.unparse(label.func) in SOURCES, text
        if place.startswith(OPEN_ROOMS):
            assert ast.unparse(label.func) != "declared", (
                f"{place}: {name}: names of events and clients need not be declared; {text} has to be bounded"
            )


def test_a_label_without_a_source_is_no_label() -> None:
    with pytest.raises(AttributeError):
        Telemetry().counter("events", "Events.", ["stream"])  # type: ignore[list-item]


def test_a_label_keeps_its_source() -> None:
    telemetry = Telemetry()
    from headwater.telemetry import Values, bounded

    telemetry.counter("events", "Events.", [bounded("stream")])
    assert telemetry.instruments == {"events": (Label("stream", Values.ANYBODY),)}
