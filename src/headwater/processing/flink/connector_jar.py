"""Finds the one Java archive that jobs on Flink need besides Flink itself: its Kafka connector."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from headwater.errors import ConfigInvalid, ExtraMissing

GROUP = "org.apache.flink"
ARTIFACT = "flink-sql-connector-kafka"
VERSION = "5.0.0-2.2"
SHA256 = "5605c691d11a501382c383fecba37a7a552467da5ab7ba904ef5d6f3d62c5616"
FETCH = f"mvn dependency:get -Dtransitive=false -Dartifact={GROUP}:{ARTIFACT}:{VERSION}"

_NAME = f"{ARTIFACT}-{VERSION}.jar"
_REPOSITORY = re.compile(r"<localRepository>\s*([^<]+?)\s*</localRepository>")


def find_connector_jar(named: Path | None, flink_library: Path, maven_home: Path | None = None) -> Path:
    """The connector: the file `named` if there is one, else one in the library of Flink, else the one that Maven has
    fetched to its local repository.

    `maven_home` is the folder with Maven's `settings.xml`; None: that of the user. The name of a file is trusted where
    a person has put it; what Maven has fetched must have the known checksum. Raises ConfigInvalid if `named` is no
    file, or what was fetched is another one; ExtraMissing if there is none.
    """
    if named is not None:
        if not named.is_file():
            raise ConfigInvalid(
                f"flink.connector_jar: there is no file {named}.", hint=f"To have Maven fetch it: {FETCH}"
            )
        return named.absolute()
    for found in sorted(flink_library.glob(f"{ARTIFACT}-*.jar"), reverse=True):
        return found.absolute()
    fetched = local_repository(maven_home) / Path(*GROUP.split("."), ARTIFACT, VERSION, _NAME)
    if not fetched.is_file():
        raise ExtraMissing(
            f"Flink's Kafka connector is neither in {flink_library} nor in Maven's repository.",
            hint=f"Let Maven fetch it: {FETCH}, or name its file in flink.connector_jar.",
        )
    if hashlib.sha256(fetched.read_bytes()).hexdigest() != SHA256:
        raise ConfigInvalid(
            f"{fetched} is not the released connector: its SHA-256 is not {SHA256}.",
            hint=f"Delete it, then: {FETCH}",
        )
    return fetched.absolute()


def local_repository(maven_home: Path | None = None) -> Path:
    """Where Maven keeps what it has fetched: as its settings say, else `repository` next to them."""
    home = maven_home or Path.home() / ".m2"
    try:
        written = _REPOSITORY.search((home / "settings.xml").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        written = None
    if written is None:
        return home / "repository"
    return Path(written[1].replace("${user.home}", str(Path.home())))
