"""Every dependency has a licence that is known and allowed, and the list of them agrees with what is installed."""

from __future__ import annotations

import sys
from email.message import Message
from importlib.metadata import Distribution
from typing import Any

import pytest

from requirements import REPOSITORY

sys.path.append(str(REPOSITORY / "docs"))
import licences
from licences import Package


def test_every_package_of_the_constraints_is_in_the_list_and_no_other() -> None:
    constrained = frozenset().union(*map(licences.constrained, licences.CONSTRAINTS))
    assert len(constrained) > 100
    assert {one.name for one in licences.read_list()} == constrained, "run `python docs/licences.py`"


def test_every_licence_is_allowed() -> None:
    assert [why for one in licences.read_list() if (why := licences.refusal(one)) is not None] == []


def test_the_list_says_what_installed_packages_say_of_themselves() -> None:
    listed = {one.name: one.licence for one in licences.read_list()}
    installed = licences.installed()
    assert len(installed) > 20
    stated = {name: licences.licence_of(one) for name, one in installed.items()}
    assert stated == {name: listed[name] for name in installed}, "run `python docs/licences.py`"


def test_the_list_says_what_needs_each_package() -> None:
    """Of the extra flink only its own environment can say it; a package that nothing needs is for development."""
    needs = licences.asked_for_here()
    differing = {
        one.name: (one.needed_by, sorted(needs.get(one.name, ())))
        for one in licences.read_list()
        if set(one.needed_by) - {licences.FLINK, licences.DEVELOPMENT}
        != needs.get(one.name, frozenset()) - {licences.FLINK}
    }
    assert differing == {}, "run `python docs/licences.py`"


def test_no_exception_outlives_its_package() -> None:
    names = {one.name for one in licences.read_list()}
    assert {*licences.ALLOWED_BY_NAME, *licences.CORRECTED, *licences.CORE_EXCEPTIONS} <= names
    needless = [
        one.name
        for one in licences.read_list()
        if one.name in licences.ALLOWED_BY_NAME and not licences.WEAK_COPYLEFT & set(one.licence.split(" AND "))
    ]
    assert needless == []


@pytest.mark.parametrize(
    ("licence", "part"),
    [
        ("", "unknown"),
        ("GPL-3.0-only", "GPL-3.0-only is not allowed"),
        ("AGPL-3.0-or-later", "not allowed"),
        ("SSPL-1.0", "not allowed"),
        ("BUSL-1.1", "not allowed"),
        ("LicenseRef-Confluent-Community-1.0", "not allowed"),
        ("MIT AND GPL-3.0-only", "not allowed"),
        ("MIT AND (GPL-2.0-only OR SSPL-1.0)", "not allowed"),
        ("GPL-2.0-only WITH Bison-exception-2.2", "not allowed"),
        ("(MIT OR GPL-3.0-only", "not allowed"),
        ("MIT GPL-3.0-only", "not allowed"),
        ("MPL-2.0", "by name only"),
        ("LGPL-3.0-only", "by name only"),
    ],
)
def test_a_licence_that_is_not_allowed_is_refused(licence: str, part: str) -> None:
    why = licences.refusal(Package("some-connector", licence, ("cassandra",)))
    assert why is not None
    assert why.startswith("some-connector: ")
    assert part in why


@pytest.mark.parametrize("licence", ["MIT", "GPL-3.0-only OR MIT", "Apache-2.0 AND (MPL-2.0 OR BSD-3-Clause)"])
def test_a_licence_with_a_choice_that_is_allowed_is_accepted(licence: str) -> None:
    assert licences.refusal(Package("some-connector", licence, ("core",))) is None


def test_a_package_allowed_for_an_extra_is_refused_in_core() -> None:
    assert licences.refusal(Package("psycopg", "LGPL-3.0-only", ("postgres",))) is None
    why = licences.refusal(Package("psycopg", "LGPL-3.0-only", ("core", "postgres")))
    assert why is not None
    assert "not allowed in core" in why


class _Stated(Distribution):
    """A package with this metadata and no files."""

    def __init__(self, **fields: str | list[str]) -> None:
        self._message = Message()
        for name, value in {"Name": "some-package", **fields}.items():
            for one in [value] if isinstance(value, str) else value:
                self._message[name.replace("_", "-")] = one

    @property
    def metadata(self) -> Any:
        return self._message

    def read_text(self, filename: str) -> None:
        return None

    def locate_file(self, path: Any) -> Any:
        return path


OSI = "License :: OSI Approved :: "


@pytest.mark.parametrize(
    ("fields", "licence"),
    [
        ({"License_Expression": "MIT OR Apache-2.0", "License": "GPL"}, "MIT OR Apache-2.0"),
        ({"License": "Apache 2"}, "Apache-2.0"),
        ({"License": "UNKNOWN", "Classifier": [f"{OSI}BSD License"]}, "BSD-3-Clause"),
        ({"Classifier": [f"{OSI}MIT License", f"{OSI}Apache Software License"]}, "Apache-2.0 AND MIT"),
        ({"Classifier": [f"{OSI}GNU General Public License v3 (GPLv3)"]}, "GPL-3.0-only"),
        ({"Classifier": [f"{OSI}MIT License", f"{OSI}Some New Licence"]}, None),
        ({"License": "All rights reserved."}, None),
        ({}, None),
    ],
)
def test_the_licence_is_what_metadata_states_and_unknown_where_it_does_not(
    fields: dict[str, str | list[str]], licence: str | None
) -> None:
    assert licences.licence_of(_Stated(**fields)) == licence
