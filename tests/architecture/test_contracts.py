"""Every public Protocol, wherever it is, has implementations, and its suite in the test kit is run on each of them.

How this works: all modules of the package are imported, and classes are compared with Protocols by their members, as
the type checker does: names, parameters, whether a call is awaited. A suite names its contracts, and who runs it names
the classes it is run on (`headwater.testing.suites.contract_suite`); a test of each suite checks that this is so.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import inspect
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, get_origin, get_type_hints

import pytest

from all_modules import all_modules
from headwater.testing.suites.contract_suite import ContractSuite

REPOSITORY = Path(__file__).resolve().parents[2]
Class = type[Any]

# What one room asks of another, or of itself, without importing it. They are no contract that somebody else would fill;
# the type checker compares them with what is handed in. One that gets implementations elsewhere gets a suite.
NARROW = {
    "RowTarget": "what a runner asks of a sink in addition to commits; the suite of sinks tests the same",
    "ReportsStored": "to which the lake reports what it has stored; its own tests ask for that",
    "KnowsOldest": "what the status of a sink asks of the log's source in addition; its tests ask for the lag in time",
    "Outputs": "what commits ask of the two that make events of results; the tests of runners run both",
    "Waiting": "whom the append batcher answers; the intake's two ways to write, which its own tests go",
    "Writes": "the intake, as hasty events see it",
    "CallsOwner": "the stage of a job that the calls of a step belong to",
    "SchemaFacts": "a schema, as rules about streams see it",
    "Translation": "a normal form, as its evaluation sees it",
    "Solver": "the search, as outcomes see it",
    "Target": "what is fuzzed; `make fuzz` runs every one, and a test a short while of it",
    "Connection": "what the server's HTTP protocol has of one connection, as a request on the short cut sees it",
    "ReadRecord": "a record of a log, as steps see it, which know no log",
    "Login": "the options of a Kafka connector, as the settings of its clients are made of them",
    "Receiver": "what a source that is posted to does with a request; the tests of the webhook ask all of it",
    "Brokers": "real nodes, which the test tree starts (`tests/servers`)",
}
# Classes that have the members of a Protocol and are not meant to be handed in for it.
NO_IMPLEMENTATIONS = {
    ("SqlTableSink", "*"): "what the sinks of all SQL databases inherit; the suite is run on each of them",
    ("RowChangeSource", "*"): "what the sources of row changes inherit; the suite is run on each of them",
    ("TableRows", "SetsAside"): "has nothing to keep: a run over history begins with an empty table",
    ("SinkStore", "SetsAside"): "hands on to the sink, whose suite asks it",
    ("OpenSchemas", "SchemaRepository"): "has a schema for every URI, on purpose",
    (
        "EntrySource",
        "JobSource",
    ): "reads files, which end; the suite appends to a log",
    ("ConnectorSource", "JobSource"): "reads a connector, which has a suite of its own; the suite appends to a log",
    ("FilesStore", "JobStore"): "commits to files, and the suite reads a log",
    ("HttpClient", "Withholds"): "withholds requests, and is no source",
    ("Measures", "Withholds"): "counts requests that were withheld, and is no source",
    ("SourceReport", "Withholds"): "shows what a source has withheld",
    ("LogDefaults", "*"): "what every log inherits; the suite is run on each of them",
    ("ReadableLog", "*"): "the half that the logs on SQLite inherit; the suite is run on each of them",
}


def test_every_protocol_has_implementations_that_pass_its_suite() -> None:
    assert "\n".join(gaps(protocols(), classes(), runs())) == ""


def test_what_is_excepted_is_still_there() -> None:
    names = {one.__name__ for one in protocols()}
    assert set(NARROW) - names == set()
    present = {one.__name__ for one in classes()}
    # Names change together; one of the two spellings is there.
    assert {pair for pair in NO_IMPLEMENTATIONS if pair[0] in present and pair[1] not in {*names, "*"}} == set()


def test_the_contracts_everybody_knows_are_found() -> None:
    found = {one.__name__: {c.__name__ for c in implementations(one, classes())} for one in protocols()}
    assert {"SqliteLog", "KafkaLog", "OracleLog", "OracleKafkaLog"} <= found["Log"]
    assert {"SqliteSink", "DuckdbSink"} <= found["Sink"]
    assert {"LogStore", "OutboxStore", "PartitionStore", "UnpartitionedStore"} <= found["JobStore"]
    assert {"EmbeddedRunner", "PartitionRunner", "SharedRunner"} <= found["Runner"]
    assert {"LocalRepository", "RemoteRepository", "LayeredRepository"} <= found["SchemaRepository"]


class Stores(Protocol):
    """A contract of this test."""

    size: int

    async def put(self, key: str, *, value: bytes) -> None: ...


class GoodStore:
    def __init__(self) -> None:
        self.size = 0

    async def put(self, key: str, *, value: bytes, hint: str = "") -> None: ...


class OtherStore:
    """Has the names, and not their meaning."""

    size: str

    async def put(self, key: str, *, value: bytes) -> None: ...


class SlowStore:
    size: int

    def put(self, key: str, *, value: bytes) -> None: ...


class GreedyStore:
    size: int

    async def put(self, key: str, *, value: bytes, more: int) -> None: ...


class StoresSuite(ContractSuite):
    contracts = (Stores,)


class RunOnGoodStore(StoresSuite):
    implementations = (GoodStore,)


def test_a_class_implements_what_has_the_same_members_with_the_same_parameters() -> None:
    everything = [GoodStore, OtherStore, SlowStore, GreedyStore]
    assert implementations(Stores, everything) == [GoodStore]


@pytest.mark.parametrize(
    ("known", "run", "said"),
    [
        ([GoodStore], [RunOnGoodStore], None),
        ([], [RunOnGoodStore], "has no implementation"),
        ([GoodStore], [], "GoodStore implements Stores"),
        ([GoodStore], [StoresSuite], "GoodStore implements Stores"),
    ],
)
def test_a_contract_without_an_implementation_or_a_suite_is_found(
    known: list[Class], run: list[type[ContractSuite]], said: str | None
) -> None:
    found = gaps([Stores], known, run)
    assert len(found) == (said is not None)
    assert all(said is not None and said in one for one in found)


def gaps(contracts: Iterable[Class], known: Sequence[Class], run: Iterable[type[ContractSuite]]) -> list[str]:
    """A sentence for each contract without an implementation, and each implementation that no suite is run on."""
    passed = {(contract, made) for suite in run for contract in _contracts_of(suite) for made in _run_on(suite)}
    found = []
    for contract in contracts:
        name = contract.__name__
        if name in NARROW:
            continue
        made = implementations(contract, known)
        if not made:
            found.append(f"{contract.__module__}.{name} has no implementation")
        found += [
            f"{one.__module__}.{one.__name__} implements {name}, and no suite of {name} is run on it"
            for one in made
            if not any(_has_part(whole, contract) for whole, made_by in passed if made_by is one)
        ]
    return found


def implementations(contract: Class, known: Iterable[Class]) -> list[Class]:
    """The classes that could be handed in for it."""
    return [
        one
        for one in known
        if not {(one.__name__, contract.__name__), (one.__name__, "*")} & set(NO_IMPLEMENTATIONS)
        and all(_has(one, contract, member) for member in _members(contract))
    ]


def _contracts_of(suite: type[ContractSuite]) -> set[Class]:
    """What a suite is of, and what that consists of."""
    return {part for contract in suite.contracts for part in contract.__mro__ if getattr(part, "_is_protocol", False)}


@functools.cache
def _has_part(whole: Class, part: Class) -> bool:
    """Whether a contract asks all that another one does, as that of a whole log does of who only reads positions."""
    return all(_has(whole, part, member) for member in _members(part))


def _run_on(suite: type[ContractSuite]) -> set[Class]:
    """The classes a suite is run on. A test's own class stands for what it adds something to."""
    made = set(suite.implementations)
    for one in suite.implementations:
        if not one.__module__.startswith("headwater."):
            made |= set(one.__mro__)
    return made


def _members(contract: Class) -> set[str]:
    names: set[str] = set()
    for part in contract.__mro__:
        if getattr(part, "_is_protocol", False):
            names |= {name for name in vars(part) if not name.startswith("_")} | set(_annotations(part))
    return names


def _has(one: Class, contract: Class, name: str) -> bool:
    wanted, found = getattr(contract, name, None), inspect.getattr_static(one, name, None)
    annotated = any(name in _annotations(part) for part in one.__mro__)
    if not inspect.isfunction(wanted):
        return (found is not None or annotated or name in _assigned(one)) and not _differs(one, contract, name)
    if found is None:
        # A method that a constructor takes from somewhere else.
        return not inspect.iscoroutinefunction(wanted) and not annotated and name in _assigned(one)
    return inspect.isfunction(found) and _takes(found, wanted)


def _takes(found: Any, wanted: Any) -> bool:
    """Whether a method can be called as another one, and is awaited or iterated alike."""
    for asked in (inspect.iscoroutinefunction, inspect.isasyncgenfunction):
        if asked is inspect.isasyncgenfunction and not inspect.isasyncgenfunction(wanted):
            continue
        if asked(found) != asked(wanted):
            return False
    offered, needed = inspect.signature(found).parameters, inspect.signature(wanted).parameters
    if any(one.kind in (one.VAR_KEYWORD, one.VAR_POSITIONAL) for one in offered.values()):
        return True
    surplus = [one for name, one in offered.items() if name not in needed and one.default is one.empty]
    return set(needed) <= set(offered) and not surplus


def _differs(one: Class, contract: Class, name: str) -> bool:
    """Whether both say of which type an attribute is, and not the same."""
    mine, theirs = _hints(one).get(name), _hints(contract).get(name)
    return mine is not None and theirs is not None and mine != theirs and not _is_narrower(mine, theirs)


def _is_narrower(mine: Any, theirs: Any) -> bool:
    mine, theirs = get_origin(mine) or mine, get_origin(theirs) or theirs
    return not (isinstance(mine, type) and isinstance(theirs, type)) or issubclass(mine, theirs)


@functools.cache
def _hints(one: Class) -> dict[str, Any]:
    try:
        return get_type_hints(one)
    except (NameError, TypeError):
        # Types that are imported for the type checker only.
        return {}


def _annotations(one: Class) -> Iterable[str]:
    return vars(one).get("__annotations__", {})


@functools.cache
def _assigned(one: Class) -> frozenset[str]:
    """The attributes that methods of a class give `self`."""
    names: set[str] = set()
    for part in one.__mro__:
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(part)))
        except (OSError, TypeError, SyntaxError):
            continue
        names |= {
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and isinstance(node.value, ast.Name)
            and node.value.id == "self"
        }
    return frozenset(names)


@functools.cache
def _public_classes() -> tuple[Class, ...]:
    return tuple(
        one
        for module, loaded in all_modules().items()
        for name, one in vars(loaded).items()
        if inspect.isclass(one) and one.__module__ == module and not name.startswith("_")
    )


def protocols() -> list[Class]:
    """Every public Protocol, but those that are the type of a function."""
    found = [one for one in _public_classes() if getattr(one, "_is_protocol", False)]
    return [one for one in found if _members(one)]


def classes() -> list[Class]:
    """Every public class that is not a Protocol."""
    return [one for one in _public_classes() if not getattr(one, "_is_protocol", False)]


@functools.cache
def runs() -> tuple[type[ContractSuite], ...]:
    """Every class of the tests that runs a suite."""
    found: list[type[ContractSuite]] = []
    for path in sorted((REPOSITORY / "tests" / "contract").rglob("test_*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        bases = {ast.unparse(base) for node in tree.body if isinstance(node, ast.ClassDef) for base in node.bases}
        if not any(base.endswith("Suite") for base in bases):
            continue
        spec = importlib.util.spec_from_file_location(f"suites_run.{path.stem}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found += [
            one
            for name, one in vars(module).items()
            if name.startswith("Test") and inspect.isclass(one) and issubclass(one, ContractSuite)
        ]
    return tuple(found)
