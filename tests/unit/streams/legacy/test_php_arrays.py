"""PHP configuration files read as data: what literals mean, and what is refused with its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headwater.errors import ConfigInvalid
from headwater.streams.legacy.php_arrays import parse_php, read_legacy_declaration
from headwater.streams.legacy.source import LegacySource

FILE = r"""<?php
// The streams.
return [
	'wgEventStreams' => [
		'default' => [
			[ 'stream' => 'listed', 'schema_title' => 'a/b' ],
			'/^mediawiki\.job\..+/' => [ 'topic_prefixes' => null ], # any job
			"keyed" => array( 'sample' => [ 'rate' => 0.5, 'unit' => 'ses' . 'sion' ], 'on' => TRUE, ),
		],
		'+enwiki' => [ 'keyed' => [ 'sample' => [ 'rate' => 1 ] ] ], /* more
		*/
	],
	'wgEventStreamsDefaultSettings' => [ 'default' => [ 'topic_prefixes' => [ 'eqiad.', 'codfw.' ] ] ],
];
"""


def test_a_real_looking_file_is_read_as_streams_by_selector(tmp_path: Path) -> None:
    (tmp_path / "streams.php").write_text(FILE, encoding="utf-8")
    source = LegacySource()
    source.add(read_legacy_declaration(tmp_path / "streams.php"))
    assert source.effective("streams", "production", None) == {
        "listed": {"schema_title": "a/b"},
        r"/^mediawiki\.job\..+/": {"topic_prefixes": None},
        "keyed": {"sample": {"rate": 0.5, "unit": "session"}, "on": True},
    }
    assert source.effective("streams", "production", "enwiki")["keyed"]["sample"] == {"rate": 1, "unit": "session"}
    assert source.list_style == ["listed"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r"return ['it\'s', 'a\\b', 'a\nb'];", ["it's", "a\\b", r"a\nb"]),
        (r'return ["a\n\"b\" \$c"];', ['a\n"b" $c']),
        ("return [1, -2, 0.5, 1e3, true, False, NULL];", [1, -2, 0.5, 1000.0, True, False, None]),
        ("return [2 => 'a', 'b'];", {"2": "a", "3": "b"}),
        ("return ['0' => 'a', '1' => 'b'];", ["a", "b"]),
        ("return [];", []),
        ("$one = ['a' => 1]; $two = 2;", {"one": {"a": 1}, "two": 2}),
    ],
)
def test_literals_mean_what_they_mean_to_php(text: str, value: Any) -> None:
    assert parse_php("<?php\n" + text, file="f.php") == value


@pytest.mark.parametrize(
    "text",
    ["return [\nfoo()];", "return [\n$x];", 'return [\n"$x"];', "return [\nX::Y];", "return [\n1 2];", "return [\n"],
)
def test_what_would_have_to_be_run_is_refused_with_its_line(text: str) -> None:
    with pytest.raises(ConfigInvalid, match=r"f\.php:[23]: expected .* let PHP print the file as JSON"):
        parse_php("<?php " + text, file="f.php")
