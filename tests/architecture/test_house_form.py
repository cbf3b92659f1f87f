"""The house form of design and size: banned names, budgets, opening sentences, and who may import or read what."""

from __future__ import annotations

import ast
import functools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCE = REPOSITORY / "src" / "headwater"

BANNED_NAMES = frozenset(
    {"core", "common", "util", "utils", "helper", "helpers", "base", "models", "service", "services", "misc"}
)
MODULE_LINES_MAX = 600
FUNCTION_LINES_MAX = 60
PARAMETERS_MAX = 7
CONSTRUCTOR_PARAMETERS_MAX = 9
CLASS_LINES_MAX = 300
CLASS_METHODS_MAX = 20
FOLDER_MODULES_MAX = 25

# Classes over a budget: how many lines and methods they may have, and why they are not divided. The list only shrinks.
LARGE_CLASSES = {
    "headwater.consumption.reader.StreamReader": (300, 23, "one connection's life: every state may follow every other"),
    "headwater.consumption.tail.LiveTail": (300, 21, "readers and the loop they share change the same few lists"),
    "headwater.control.stream_control.StreamControl": (300, 21, "what the contract of changes has, and no more"),
    "headwater.intake.gate.Gate": (340, 21, "the hot path of each event: calls between objects would cost as much"),
    "headwater.intake.intake.Intake": (440, 31, "two engines, the fast and the careful, to be made one when measured"),
    "headwater.log.kafka.log.KafkaLog": (430, 43, "one method for each of the log's contract; the work is in others"),
    "headwater.log.kafka.topics.KafkaTopics": (
        470,
        38,
        "facts about topics and calls to brokers, to divide",
    ),
    "headwater.log.sqlite.readable.ReadableLog": (
        300,
        32,
        "one method for each of the log's contract; the work is in others",
    ),
    "headwater.log.sqlite.writer.Writer": (360, 25, "the one thread that writes, and the transaction it is in"),
    "headwater.schemas.compatibility.evaluate.Evaluator": (300, 24, "one method for each keyword"),
    "headwater.schemas.compatibility.search.Search": (300, 22, "one method for each kind of node"),
    "headwater.schemas.validation.explain._Walk": (300, 27, "one method for each keyword"),
    "headwater.testing.suites.job_store.JobStoreSuite": (300, 21, "a suite: one method for each promise"),
    "headwater.testing.log_machine.LogMachine": (300, 28, "a state machine: one method for each step"),
    "headwater.testing.suites.log.LogSuite": (350, 34, "a suite: one method for each promise"),
    "headwater.testing.oracle_log.OracleLog": (300, 33, "one method for each of the log's contract"),
    "headwater.web.protocol.HeadwaterProtocol": (430, 31, "uvicorn's class with its callbacks, and measured"),
    "headwater.web.schemas.confluent.ConfluentReader": (
        300,
        27,
        "one method for each path of the registry's HTTP API",
    ),
}
# So many lines and methods may a recorded size be above what the class has: then it is to be lowered.
SIZE_SLACK_LINES = 30
SIZE_SLACK_METHODS = 4
# Folders over the budget: how many modules, and why. There is none.
LARGE_FOLDERS: dict[str, tuple[int, str]] = {}

# A driver or framework, and the only modules that may import it (a name stands for itself and everything below it).
ONLY_IN = {
    "aiohttp": ("headwater.lookups.transport", "headwater.connectors.sinks.http"),
    "sqlite3": (
        "headwater.log",
        "headwater.processing.stores.state_file",
        "headwater.connectors.sinks.sqlite",
        "headwater.connectors.lake.seen_ids",
    ),
    "duckdb": (
        "headwater.connectors.sinks.duckdb",
        "headwater.connectors.sinks.duckdb_blocks",
        "headwater.queries.engine",
        "headwater.processing.batch.parquet",
    ),
    "cassandra": ("headwater.connectors.sinks.cassandra",),
    "opensearchpy": ("headwater.connectors.sinks.opensearch",),
    "pyiceberg": ("headwater.connectors.sinks.iceberg",),
    "redis": ("headwater.connectors.sinks.redis",),
    "psycopg": ("headwater.connectors.sinks.postgres", "headwater.connectors.sources.postgres_cdc"),
    "pymysql": ("headwater.connectors.sinks.mysql", "headwater.connectors.sources.mysql_cdc"),
    "pymysqlreplication": ("headwater.connectors.sources.mysql_cdc",),
    "sqlglot": ("headwater.queries", "headwater.jobs.sql"),
    "starlette": ("headwater.web",),
    "uvicorn": ("headwater.web",),
    "httptools": ("headwater.web",),
    "jinja2": ("headwater.web",),
    "click": ("headwater.cli",),
    "jsonschema_rs": ("headwater.schemas",),
    "pyflink": ("headwater.processing.flink", "headwater.flink"),
    "py4j": ("headwater.processing.flink.submit",),
    "confluent_kafka": (
        "headwater.log.kafka",
        "headwater.connectors.kafka",
        "headwater.connectors.sinks.kafka",
        "headwater.connectors.sources.kafka",
        "headwater.testing",
    ),
    "prometheus_client": ("headwater.telemetry",),
    "yaml": ("headwater.declaration", "headwater.deploy.written_yaml", "headwater.schemas", "headwater.streams"),
}
# An implementation, and the only modules that may name it: elsewhere its contract is enough.
NAMED_ONLY_BY = {
    "headwater.log.sqlite.log": ("headwater.log.open", "headwater.log.sqlite.serving"),
    "headwater.log.sqlite.linked": ("headwater.log.open",),
    "headwater.log.kafka.log": ("headwater.log.open",),
    "headwater.connectors.sinks": ("headwater.platform", "headwater.connectors.registry"),
    "headwater.connectors.sources": ("headwater.platform", "headwater.connectors.registry"),
    "headwater.processing.embedded.loop": (
        "headwater.platform",
        "headwater.processing.embedded.runner",
        "headwater.processing.embedded.partitioned",
        "headwater.processing.batch.run",
    ),
}
PARTITION_ROOMS = tuple(
    f"headwater.{room}" for room in ("log", "intake", "consumption", "jobs", "processing", "monitoring", "migration")
)
# Where a text and a number are something else, or where the name is given.
OTHER_PAIRS = {
    "headwater.log.contract": "the name itself",
    "headwater.monitoring.hour_counts": "a topic and a day",
}
# The modules that grow or draw pauses themselves, and why.
GROWING_PAUSES = {
    "headwater.log.sqlite.other_writers": "looks for commits of other processes: nothing failed, and it is measured",
    "headwater.testing.soak.churn": "clients come and go at random: nothing failed",
}
LOG_PROTOCOLS = tuple(f"headwater.log.contract.{name}" for name in ("Log", "LogReader", "LogWriter"))
# What a module that must stay pure may not import.
NEVER_IMPORTED_BY = {
    "headwater.intake.gate": ("asyncio", "threading", "headwater.log.sqlite.log", *LOG_PROTOCOLS),
    "headwater.jobs": ("asyncio", "headwater.log", "headwater.processing"),
    # The loop reads a source and commits to a store; what these are is not its business.
    **dict.fromkeys(
        (
            f"headwater.processing.embedded.{module}"
            for module in (
                *("loop", "batches", "commits", "overlapping", "read_ahead", "await_steps", "calls", "in_flight"),
                *("breaker", "parking", "reposition"),
            )
        ),
        (
            "headwater.connectors.contract.Sink",
            "headwater.connectors.contained",
            "headwater.processing.embedded.log_source",
            "headwater.processing.stores.contract.LogStore",
            *LOG_PROTOCOLS,
        ),
    ),
}


def _module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_module_name(path): path for path in sorted(SOURCE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}
OUTSIDE = sorted(
    path
    for folder in ("benchmarks", "docs")
    for path in (REPOSITORY / folder).rglob("*.py")
    if "node_modules" not in path.parts
)


def _is_within(module: str, rooms: Sequence[str]) -> bool:
    return any(module == room or module.startswith(f"{room}.") for room in rooms)


@functools.cache
def _imports(name: str) -> Sequence[tuple[str, int]]:
    """Every module imported anywhere in `name`, also inside functions; `from a import b` gives `a` and `a.b`."""
    found: list[tuple[str, int]] = []
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                found += [(node.module, node.lineno), (f"{node.module}.{alias.name}", node.lineno)]
    return found


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _lines(function: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> int:
    """Lines from `def` or `class` to the end, its docstring not counted."""
    total = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None:
        total -= (first.end_lineno or first.lineno) - first.lineno + 1
    return total


def _parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    arguments = function.args
    names = [a.arg for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    return len([name for name in names if name not in ("self", "cls")])


def test_no_room_has_a_name_that_says_nothing() -> None:
    banned = [name for name in MODULES if BANNED_NAMES & set(name.split("."))]
    assert banned == []


def test_every_module_opens_with_a_sentence_on_what_it_is_for() -> None:
    without = []
    for name, tree in TREES.items():
        docstring = ast.get_docstring(tree, clean=False) or ""
        first_line = docstring.split("\n", 1)[0].strip()
        if len(first_line.split()) < 3 or first_line[-1] not in ".:":
            without.append(name)
    assert without == []


def test_no_module_is_longer_than_the_budget() -> None:
    lengths = {str(path): len(path.read_text(encoding="utf-8").splitlines()) for path in (*MODULES.values(), *OUTSIDE)}
    assert {path: lines for path, lines in lengths.items() if lines > MODULE_LINES_MAX} == {}


def test_no_function_is_longer_than_the_budget() -> None:
    trees = {**TREES, **{str(path): ast.parse(path.read_text(encoding="utf-8")) for path in OUTSIDE}}
    too_long = [
        f"{name}:{function.lineno} {function.name} has {_lines(function)} lines"
        for name, tree in trees.items()
        for function in _functions(tree)
        if _lines(function) > FUNCTION_LINES_MAX
    ]
    assert too_long == []


def test_no_function_takes_more_parameters_than_the_budget() -> None:
    too_many = []
    for name, tree in TREES.items():
        for function in _functions(tree):
            limit = CONSTRUCTOR_PARAMETERS_MAX if function.name == "__init__" else PARAMETERS_MAX
            if _parameters(function) > limit and not _is_click_command(function):
                too_many.append(f"{name}:{function.lineno} {function.name} takes {_parameters(function)}")
    assert too_many == []


def _is_click_command(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """A command's parameters are its options: people read them in its help, not in its signature."""
    return any("click." in ast.unparse(decorator) for decorator in function.decorator_list)


@functools.cache
def _class_sizes() -> dict[str, tuple[int, int]]:
    """Lines, the docstring not counted, and methods of every class, by its dotted name."""
    sizes = {}
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                methods = [one for one in node.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)]
                sizes[f"{name}.{node.name}"] = (_lines(node), len(methods))
    return sizes


def test_no_class_is_larger_than_the_budget() -> None:
    within = (CLASS_LINES_MAX, CLASS_METHODS_MAX)
    too_large = [
        f"{name} has {lines} lines and {methods} methods"
        for name, (lines, methods) in _class_sizes().items()
        if lines > LARGE_CLASSES.get(name, within)[0] or methods > LARGE_CLASSES.get(name, within)[1]
    ]
    assert too_large == []


def test_every_large_class_on_the_list_is_still_large() -> None:
    sizes = _class_sizes()
    stale = []
    for name, (lines_recorded, methods_recorded, _) in LARGE_CLASSES.items():
        lines, methods = sizes.get(name, (0, 0))
        if lines <= CLASS_LINES_MAX and methods <= CLASS_METHODS_MAX:
            stale.append(f"{name} is within the budget: take it off the list")
        elif lines_recorded > max(lines + SIZE_SLACK_LINES, CLASS_LINES_MAX) or methods_recorded > max(
            methods + SIZE_SLACK_METHODS, CLASS_METHODS_MAX
        ):
            stale.append(f"{name} has {lines} lines and {methods} methods by now: lower its numbers")
    assert stale == []


def test_no_folder_has_more_modules_than_the_budget() -> None:
    folders = Counter(name.rpartition(".")[0] for name, path in MODULES.items() if path.name != "__init__.py")
    limits = {folder: LARGE_FOLDERS[folder][0] if folder in LARGE_FOLDERS else FOLDER_MODULES_MAX for folder in folders}
    assert {folder: count for folder, count in folders.items() if count > limits[folder]} == {}
    assert [folder for folder in LARGE_FOLDERS if folders[folder] <= FOLDER_MODULES_MAX] == [], "within the budget"


def test_init_files_hold_only_a_docstring_and_re_exports() -> None:
    offending = []
    for name, path in MODULES.items():
        if path.name != "__init__.py":
            continue
        for node in TREES[name].body:
            is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            is_name = isinstance(node, ast.Assign) and all(
                isinstance(target, ast.Name) and target.id in ("__all__", "__version__") for target in node.targets
            )
            # What type checkers see of it, where it is imported when it is first used.
            is_for_types = (
                isinstance(node, ast.If)
                and ast.unparse(node.test) == "TYPE_CHECKING"
                and all(isinstance(one, ast.ImportFrom) for one in node.body)
            )
            if not (is_text or is_name or is_for_types or isinstance(node, ast.ImportFrom)):
                offending.append(f"{name}:{node.lineno}")
    assert offending == []


@pytest.mark.parametrize("driver", ONLY_IN)
def test_a_driver_is_imported_only_by_its_adapter(driver: str) -> None:
    allowed = (*ONLY_IN[driver], "headwater.testing")
    strays = [
        f"{name}:{line} imports {imported}"
        for name in MODULES
        for imported, line in _imports(name)
        if imported.split(".")[0] == driver and not _is_within(name, allowed)
    ]
    assert strays == [], "use the adapter, or name a new adapter in ONLY_IN"


@pytest.mark.parametrize("implementation", NAMED_ONLY_BY)
def test_an_implementation_is_named_only_where_things_are_put_together(implementation: str) -> None:
    allowed = (*NAMED_ONLY_BY[implementation], implementation, "headwater.testing")
    strays = sorted(
        {
            f"{name}:{line}"
            for name in MODULES
            for imported, line in _imports(name)
            if _is_within(imported, [implementation]) and not _is_within(name, allowed)
        }
    )
    assert strays == []


@pytest.mark.parametrize("module", NEVER_IMPORTED_BY)
def test_a_pure_module_imports_no_log_no_loop_and_no_runner(module: str) -> None:
    assert module in MODULES, f"{module} is promised by the architecture but does not exist"
    strays = [
        f"{name}:{line} imports {imported}"
        for name in MODULES
        if _is_within(name, [module])
        for imported, line in _imports(name)
        if _is_within(imported, NEVER_IMPORTED_BY[module])
    ]
    assert strays == []


def test_the_gate_is_handed_its_clock() -> None:
    """A clock may be a parameter's default; it may not be called by its own name."""
    calls = {ast.unparse(node.func) for node in ast.walk(TREES["headwater.intake.gate"]) if isinstance(node, ast.Call)}
    assert calls & {"time.time", "time.monotonic", "datetime.now", "datetime.utcnow", "uuid.uuid4"} == set()


def test_times_are_read_in_one_module() -> None:
    """Two readers would take one text for two moments, or only one of them would take it for any."""
    readers = {
        name
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in ("fromisoformat", "strptime")
    }
    assert readers == {"headwater.times"}


def test_pauses_between_attempts_grow_in_one_module() -> None:
    """A loop that tries again takes its pauses from `backoff`: the next connector copies whatever is there."""
    strays = []
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            grows = called == "min" and any(_is_longer_pause(one) for one in node.args)
            if grows or called.split(".")[-1] == "uniform" or (called.split(".")[-1] == "sleep" and _draws(node)):
                strays.append(name)
    assert set(strays) - {"headwater.backoff"} == set(GROWING_PAUSES)


def _is_longer_pause(node: ast.expr) -> bool:
    text = ast.unparse(node)
    return isinstance(node, ast.BinOp) and "*" in text and bool(re.search(r"pause|delay|wait|backoff|retry", text))


def _draws(node: ast.Call) -> bool:
    return any("random" in ast.unparse(one) for one in node.args)


# The modules that write times, and why it is not `times` alone.
WRITES_TIMES = {
    "headwater.times": "the writer of all others",
    "headwater.access.api_keys": "key files have `+00:00` for UTC, and the form of files stays",
    "headwater.web.pages.feed": "a cell of a table is shown as its database has it",
}
TIME_WRITERS = ("isoformat", "strftime", "fromtimestamp", "utcfromtimestamp", "gmtime", "ctime")


def test_times_are_written_in_one_module() -> None:
    writers = {
        name
        for name, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in TIME_WRITERS
    }
    assert writers == set(WRITES_TIMES)


def test_durations_are_read_and_written_in_one_module() -> None:
    """A second table of units, or a second expression, would be a second grammar."""
    others = set()
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Dict | ast.Tuple | ast.List):
                numbers = {one.value for one in ast.walk(node) if isinstance(one, ast.Constant)}
                if {3_600, 86_400} <= numbers or {3_600_000, 86_400_000} <= numbers:
                    others.add(name)
            text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
            if re.search(r"\bm\|h\|d|mhd", text):
                others.add(name)
    assert others == {"headwater.times"}


def test_partitions_have_one_name() -> None:
    """`TopicPartition` of the log's contract, in the rooms where a text with a number is a partition of a topic."""
    named = {
        name
        for name, tree in TREES.items()
        if _is_within(name, PARTITION_ROOMS)
        for node in ast.walk(tree)
        if isinstance(node, ast.Subscript) and ast.unparse(node) == "tuple[str, int]"
    }
    assert named == set(OTHER_PAIRS)


@pytest.mark.parametrize("concept", ["Finding", "Severity", "TopicPartition", "Backoff"])
def test_a_concept_that_many_rooms_have_is_one_class(concept: str) -> None:
    """A copy goes its own way: a severity that one check has and another lacks."""
    makers = [
        name
        for name, tree in TREES.items()
        if not _is_within(name, ["headwater.testing"])
        for node in ast.walk(tree)
        if (isinstance(node, ast.ClassDef) and node.name == concept)
        or (isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == [concept])
    ]
    assert len(makers) == 1, makers


def test_only_config_reads_the_environment() -> None:
    readers = []
    for name, tree in TREES.items():
        if name == "headwater.config" or _is_within(name, ["headwater.testing"]):
            continue
        for node in ast.walk(tree):
            attribute = node.attr if isinstance(node, ast.Attribute) else None
            owner = node.value.id if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) else None
            if owner == "os" and attribute in ("environ", "environb", "getenv", "getenvb"):
                readers.append(f"{name}:{getattr(node, 'lineno', 0)}")
        if any(imported in ("os.environ", "os.getenv") for imported, _ in _imports(name)):
            readers.append(name)
    assert readers == []


def test_nothing_imports_the_test_kit() -> None:
    importers = [
        name
        for name in MODULES
        if not _is_within(name, ["headwater.testing"])
        and any(_is_within(imported, ["headwater.testing"]) for imported, _ in _imports(name))
    ]
    assert importers == []


def test_no_endpoint_has_whole_urls_of_requests_remembered() -> None:
    """The standard library remembers the last 128 texts it took apart, however long; `request.url` has it do so."""
    asked = {
        name
        for name, tree in TREES.items()
        if name.startswith("headwater.web.")
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "request.url"
    }
    assert asked == set()
