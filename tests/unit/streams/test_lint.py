"""The lint of declarations: every rule finds what it is for, with file, line and a way out, and nothing else."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from headwater.checking.family_overlap import name_in_both
from headwater.finding import Finding, Severity
from headwater.streams.files import read_layers
from headwater.streams.lint import RULES, Surroundings, lint, table_name

FINE = """
stream: {name}
schema_title: shop/order
docs: {{summary: An order., owner: team:shop}}
"""


@dataclass(frozen=True)
class Facts:
    uri: str
    fields: tuple[str, ...]
    document: dict[str, Any] = field(default_factory=lambda: {"examples": [{}]})

    def declares(self, path: str) -> bool:
        return path in self.fields


AROUND = Surroundings(
    schemas={
        "shop/order": [Facts("/shop/order/1.0.0", ("id",)), Facts("/shop/order/1.1.0", ("id", "email"))],
        "shop/bare": [Facts("/shop/bare/1.0.0", ("id",), {})],
        "error": [Facts("/error/1.0.0", ())],
    },
    services={"main": {}},
    owners={"team:shop": None},
    readable=frozenset({"a", "c"}),
    opened=frozenset({"opened"}),
    name_in_both=name_in_both,
)


def found(directory: Path, **files: str) -> list[Finding]:
    (directory / "sites.yaml").write_text("groups: {private: [w]}\n", encoding="utf-8")
    for name, text in files.items():
        path = directory / f"{name.replace('__', '/')}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text.lstrip("\n"), encoding="utf-8")
    return lint(read_layers(directory), AROUND)


def shown(finding: Finding, directory: Path) -> str:
    file = str(finding.file).removeprefix(f"{directory}/")
    return f"{file}:{finding.line}: {finding.rule.id}: {finding.message} → {finding.hint}"


def test_fine_declarations_have_no_findings(tmp_path: Path) -> None:
    a = FINE.format(name="a") + "transport: {message_key_fields: {e: email, i: id}}\nprivacy: {pii_fields: [email]}\n"
    b = FINE.format(name="b") + "produce: {destination_event_service: main}\nmonitor: {canary: {enabled: true}}\n"
    families = {
        "families__jobs": FINE.format(name=r"/^jobs\.[a-z]+$/"),
        "families__more": FINE.format(name=r"/^jobs\.[0-9]+$/"),
    }
    (note,) = found(tmp_path, a=a, b=b, **families)
    assert (note.rule.id, note.rule.severity) == ("key-field-undeclared-earlier", Severity.NOTE)


CASES: list[tuple[str, str, str]] = [
    (
        "schema-title-unknown",
        "stream: a\nschema_title: shop/ordr\n",
        'a.yaml:2: schema-title-unknown: the stream "a" has the schema title "shop/ordr", which no schema has. '
        '→ Did you mean "shop/order"?',
    ),
    ("schema-title-form", "stream: a\nschema_title: /shop/order/1.0.0\n", 'a.yaml:2: .*URI. → Write "shop/order".'),
    (
        "key-field-undeclared",
        "stream: a\nschema_title: shop/order\ntransport:\n  partitions: 2\n  message_key_fields: {x: xx}\n",
        "a.yaml:5: .* from xx, which the schema /shop/order/1.1.0 does not declare",
    ),
    (
        "key-field-undeclared-earlier",
        "stream: a\nschema_title: shop/order\ntransport: {message_key_fields: {x: email}}\n",
        "a.yaml:3: .* /shop/order/1.0.0 does not declare",
    ),
    (
        "pii-field-undeclared",
        "stream: a\nschema_title: shop/order\nprivacy: {pii_fields: [e]}\n",
        "a.yaml:3: .* declares e as personal data",
    ),
    (
        "service-unknown",
        "stream: a\nschema_title: shop/order\nproduce: {destination_event_service: mian}\n",
        'a.yaml:3: .* not in services.yaml. → Did you mean "main"?',
    ),
    (
        "owner-unknown",
        "stream: a\nschema_title: shop/order\ndocs:\n  summary: x\n  owner: team:shp\n",
        'a.yaml:5: .* → Did you mean "team:shop"?',
    ),
    ("undocumented", "stream: a\nschema_title: shop/order\ndocs: {summary: x}\n", "a.yaml:3: .* has no docs.owner."),
    (
        "canary-impossible",
        "stream: a\nschema_title: shop/order\nmonitor: {canary: {enabled: true}}\n",
        "a.yaml:3: .* names no intake",
    ),
    (
        "canary-impossible",
        "stream: a\nschema_title: shop/bare\nproduce: {destination_event_service: main}\n"
        "monitor: {canary: {enabled: true}}\n",
        "a.yaml:4: .* /shop/bare/1.0.0 has no examples",
    ),
    (
        "private-in-public",
        "stream: a\nschema_title: shop/order\nprivacy: {class: restricted}\n",
        "a.yaml:3: .* everybody may read it over HTTP",
    ),
    (
        "private-opened",
        "stream: opened\nschema_title: shop/order\nprivacy: {class: restricted}\n",
        "opened.yaml:3: .* consumption.allowed_streams opens it to everybody",
    ),
    ("name-error-stream", "stream: a\nschema_title: error\n", "a.yaml:1: .* schema of error events"),
    (
        "site-group-unknown",
        "stream: a\nschema_title: shop/order\noverrides:\n- {when: {site_group: privat}, set: {}}\n",
        'a.yaml:4: .* → Did you mean "private"?',
    ),
    (
        "unset-nothing",
        "stream: a\nschema_title: shop/order\noverrides:\n- {when: {site: w}, unset: [produce.sample]}\n",
        "a.yaml:4: .* unsets produce.sample, which nothing sets",
    ),
    (
        "override-breaks",
        "stream: a\nschema_title: shop/order\noverrides:\n- {when: {site: w}, set: {transport: {compact: true}}}\n",
        'a.yaml:4: .* for the site "w", "a" is invalid: a compacted stream needs',
    ),
]


@pytest.mark.parametrize(("rule", "text", "expected"), CASES, ids=[f"{n}-{case[0]}" for n, case in enumerate(CASES)])
def test_a_rule_finds_it_in_one_file_with_its_line(tmp_path: Path, rule: str, text: str, expected: str) -> None:
    findings = [
        finding
        for finding in found(tmp_path, **{text.split()[1]: text})
        if finding.rule.id != "undocumented" or rule == "undocumented"
    ]
    assert [finding.rule.id for finding in findings] == [rule]
    assert re.match(expected.replace("?", r"\?"), shown(findings[0], tmp_path)), shown(findings[0], tmp_path)


@pytest.mark.parametrize(
    ("name", "rule", "hint"),
    [
        ("mediawiki.page_change.1", "name-form", 'A version is written ".v1".'),
        ("Mediawiki.X", "name-form", 'Write "mediawiki.x".'),
        ("rc1.mediawiki.page_change", "name-version-first", 'Write "mediawiki.page_change.rc1".'),
        ("page_change.v1.private", "name-private-last", 'Write "page_change.private.v1".'),
    ],
)
def test_names_and_versions_follow_the_decisions(tmp_path: Path, name: str, rule: str, hint: str) -> None:
    (finding,) = found(tmp_path, **{name: FINE.format(name=name)})
    assert (finding.rule.id, finding.hint) == (rule, hint)


@pytest.mark.parametrize(
    "name", ["a", "page_change.v1", "page_change.private.v1", "x.rc0", "x.dev0", "eventlogging_Big"]
)
def test_usual_names_are_fine(tmp_path: Path, name: str) -> None:
    assert found(tmp_path, **{name: FINE.format(name=name)}) == []


def test_two_streams_must_not_fill_one_table_or_mix_in_one_topic(tmp_path: Path) -> None:
    findings = found(
        tmp_path,
        a_b=FINE.format(name="a_b"),
        **{"a-b": FINE.format(name="a-b") + "transport: {topics: [a_b]}\n"},
        c=FINE.format(name="c") + "privacy: {class: internal}\n",
        d=FINE.format(name="d") + "privacy: {class: private}\ntransport: {topics: [c]}\n",
    )
    assert [(finding.subject, finding.rule.id) for finding in findings] == [
        ("a_b", "table-collision"),
        ("a_b", "topic-shared"),
        ("d", "private-in-public"),
    ]
    assert (table_name("a.b-C.v1"), table_name("eventlogging_NavigationTiming")) == ("a_b_c_v1", "navigationtiming")


def test_a_name_and_a_class_that_disagree_about_privacy_are_found(tmp_path: Path) -> None:
    text = FINE.format(name="x.private.v1") + "privacy: {class: public}\n"
    (finding,) = found(tmp_path, **{"x.private.v1": text})
    assert shown(finding, tmp_path).startswith("x.private.v1.yaml:4: private-in-public:")


def test_families_must_be_disjoint_anchored_and_without_flags(tmp_path: Path) -> None:
    findings = found(
        tmp_path,
        families__a=FINE.format(name=r"/^job\.[a-m]+$/"),
        families__b=FINE.format(name=r"/^job\.(late|zz)$/"),
        families__c=FINE.format(name="/tail/"),
        families__d=FINE.format(name="/^CI$/i") + "monitor: {canary: {enabled: true}}\n",
    )
    assert [(finding.subject, finding.rule.id) for finding in findings] == [
        ("/tail/", "family-anchors"),
        ("/^CI$/i", "canary-impossible"),
        ("/^CI$/i", "family-flags"),
    ]
    more = found(tmp_path, families__e=FINE.format(name=r"/^job\.ja+$/"))
    (overlap,) = [finding for finding in more if finding.rule.id == "family-overlap"]
    assert '"job.ja" is in both' in overlap.message


@pytest.mark.parametrize(
    ("first", "second", "shared"),
    [
        ("/^a/", "/b$/", "ab"),
        ("/^a$/", "/^b$/", None),
        (r"/^x\.(.+\.)?y$/", r"/^x\.z\./", "x.z.y"),
        ("/^a{3}$/", "/^(aa)+$/", None),
        ("/a/", "/^[^a]+$/", None),
    ],
)
def test_the_overlap_of_two_expressions_is_decided_and_not_guessed(first: str, second: str, shared: str | None) -> None:
    name = name_in_both(first, second)
    assert (name and len(name)) == (shared and len(shared))
    if name is not None:
        assert all(re.search(expression[1:-1], name) for expression in (first, second))


def test_what_cannot_be_decided_is_said() -> None:
    for undecidable in ("/^a$/i", r"/^(a+)\1$/"):
        with pytest.raises(ValueError, match="not a plain regular expression"):
            name_in_both("/a/", undecidable)


def test_what_is_not_known_is_not_checked(tmp_path: Path) -> None:
    text = "stream: a\nschema_title: nobody\nprivacy: {class: private}\nproduce: {destination_event_service: nowhere}\n"
    (tmp_path / "a.yaml").write_text(text, encoding="utf-8")
    assert {finding.rule.id for finding in lint(read_layers(tmp_path), Surroundings())} == {"undocumented"}


def test_a_setting_from_the_defaults_is_found_in_the_defaults(tmp_path: Path) -> None:
    defaults = "\nproduce:\n  destination_event_service: mian\n"
    (tmp_path / "defaults.yaml").write_text(defaults, encoding="utf-8")
    (finding,) = found(tmp_path, a=FINE.format(name="a"))
    assert shown(finding, tmp_path).startswith("defaults.yaml:3: service-unknown")


def test_every_rule_is_tried_by_some_test() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    assert [rule for rule in RULES if f'"{rule}"' not in text and f": {rule}" not in text] == []


def test_the_real_configuration_has_the_findings_that_are_known(fixtures_dir: Path) -> None:
    layers = read_layers(fixtures_dir / "streams" / "wikimedia_streams.yaml")
    names = frozenset(layers.entries)
    findings = lint(layers, Surroundings(readable=names, name_in_both=name_in_both))
    told = {(finding.rule.id, finding.subject) for finding in findings if finding.rule.severity != Severity.NOTE}
    assert ("canary-impossible", "webrequest.page_trending.dev0") in told
    assert ("family-anchors", r"/^mediawiki\.job\..+/") in told
    assert {name for rule, name in told if rule == "private-in-public"} == {
        name for name in names if ".private." in name
    }
    assert {rule for rule, _ in told} == {"canary-impossible", "family-anchors", "private-in-public"}
    assert all(finding.file and finding.line and finding.hint for finding in findings)
