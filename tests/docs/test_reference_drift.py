"""The page about the file of a stream names every key as the code takes it, and its examples load."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from headwater.streams import StreamRegistry
from headwater.streams.lint import RULES
from headwater.streams.stream_format import SHAPE, key_paths

PAGE = Path(__file__).resolve().parents[2] / "docs/reference/stream-file.md"
ROW = re.compile(r"^\| `([a-z_A-Z.\[\]]+)` \| (.+) \| (.+) \|$", re.MULTILINE)


@pytest.fixture(scope="module")
def page() -> str:
    return PAGE.read_text(encoding="utf-8")


def test_every_key_of_a_stream_file_stands_in_the_page_with_what_it_takes_and_means(page: str) -> None:
    table = page.split("\n## Keys\n")[1].split("\n## ", maxsplit=1)[0]
    documented = {
        path: (takes.split(" (")[0].split(", any keys")[0], meaning) for path, takes, meaning in ROW.findall(table)
    }
    assert {path: (key.takes, key.meaning) for path, key in key_paths(SHAPE)} == documented


def test_every_rule_of_the_lint_stands_in_the_page_with_its_severity(page: str) -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \| (error|warning|note) \| (.+) \|$", page, re.MULTILINE)
    assert rows == [(rule.id, rule.severity.value, rule.meaning) for rule in RULES.values()]


def test_every_example_of_a_stream_file_in_the_page_loads(page: str, tmp_path: Path) -> None:
    examples = re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    for example in examples:
        found = re.search(r"^stream: (\S+)$", example, re.MULTILINE)
        (tmp_path / f"{found[1] if found else 'many'}.yaml").write_text(example, encoding="utf-8")
    loaded = StreamRegistry.load(tmp_path)
    assert len(examples) == len(list(tmp_path.iterdir()))
    assert {"shop.orders.v1", "shop.orders.v2", "shop.visits.v1", "mediawiki.page_change.v1"} == set(loaded.names())
    assert loaded.get("shop.orders.v2").retention_seconds == 30 * 86_400
