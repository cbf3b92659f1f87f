"""Every contract has its suite in the shipped test kit, and every implementation a test that runs it."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCE = REPOSITORY / "src" / "headwater"


def _names(expressions: list[ast.expr]) -> set[str]:
    return {ast.unparse(expression).split("[")[0].split(".")[-1] for expression in expressions}


@functools.cache
def _classes(root: Path) -> list[tuple[Path, ast.ClassDef]]:
    return [
        (path, node)
        for path in sorted(root.rglob("*.py"))
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef)
    ]


def _contracts() -> set[str]:
    """The Protocols of the contract modules, without those that are only a part of another one."""
    protocols: dict[str, set[str]] = {}
    for path, node in _classes(SOURCE):
        if path.name == "contract.py" and "Protocol" in _names(node.bases):
            protocols[node.name] = _names(node.bases)
    parts = set().union(*protocols.values()) if protocols else set()
    return set(protocols) - parts


def _implementations(contract: str) -> set[str]:
    """Public classes of its room whose name ends with the contract's, as `SqliteLog` with `Log`, and the oracle.

    What else the test kit has under such a name breaks the contract on purpose: fault injectors.
    """
    room = next(p.parent for p, node in _classes(SOURCE) if p.name == "contract.py" and node.name == contract)
    return {
        node.name
        for path, node in (*_classes(room), *_classes(SOURCE / "testing"))
        if path.name != "contract.py"
        and (path.is_relative_to(room) or node.name.startswith("Oracle"))
        and node.name.endswith(contract)
        and not node.name.startswith("_")
        and "Protocol" not in _names(node.bases)
    }


def test_there_are_contracts_to_check() -> None:
    assert "Log" in _contracts()
    assert "SqliteLog" in _implementations("Log")


def test_every_contract_has_a_suite_in_the_test_kit() -> None:
    shipped = {node.name for _, node in _classes(SOURCE / "testing")}
    without = {contract for contract in _contracts() if _implementations(contract)} - {
        name.removesuffix("Suite") for name in shipped if name.endswith("Suite")
    }
    assert without == set()


def test_every_implementation_passes_the_suite_of_its_contract() -> None:
    tested: set[str] = set()
    for contract in _contracts():
        for path in sorted((REPOSITORY / "tests").rglob("test_*.py")):
            text = path.read_text(encoding="utf-8")
            subclasses = [
                node
                for node in ast.parse(text).body
                if isinstance(node, ast.ClassDef) and f"{contract}Suite" in _names(node.bases)
            ]
            if subclasses:
                tested |= {name for name in _implementations(contract) if name in text}
    untested = {name for contract in _contracts() for name in _implementations(contract)} - tested
    assert untested == set()
