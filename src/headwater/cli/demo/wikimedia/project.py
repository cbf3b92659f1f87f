"""The project of the demo: that of the use cases, with the jobs of the stations, and stores on this machine."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import headwater
from headwater.cli.demo.wikimedia.stations import DOCUMENTS, INDEX, JOB_FILES, LAKE
from headwater.cli.up.up import CONFIG_FILE
from headwater.errors import ConfigInvalid

INDEX_FILE = "var/search.db"
LAKE_FOLDER = "var/lake"
_INDEX_SINK = f"""
sinks:
  - connector: sqlite
    path: {INDEX_FILE}
    table: {INDEX.name}
    columns: {{wiki_id: text, page_id: integer, rev_id: integer, page_title: text, text: text}}
    key: [wiki_id, page_id]
    version: rev_id
    delete_when: {{change_type: [PAGE_DELETE, REDIRECT_UPDATE]}}
"""
_LAKE_SINK = f"""
sinks:
  - connector: {{connector}}
    location: {LAKE_FOLDER}
    table: {LAKE.name}
    partition: hour
    batch: {{{{seconds_max: 0.2}}}}
"""
_LAKE_COLUMNS = """    columns:
      wiki_id: text
      page_id: [integer, page.page_id]
      page_title: [text, page.page_title]
      rev_id: [integer, revision.rev_id]
      rev_size: [integer, revision.rev_size]
      page_change_kind: text
      dt: timestamp
"""
_SETTINGS = """# The project of `headwater demo --wikimedia`, which writes this file again when it starts.
log: sqlite:///var/events.db
schemas: schemas
streams: streams

intake:
  service_name: headwater-wikimedia
  event_bytes_max: 10485760

web:
  host: 127.0.0.1
  port: {port}
"""
_INVENTED = """
# The wiki of the demo, which is also its cache.
lookups:
  mediawiki: {{url: {wiki}/w/api.php}}

jobs:
  path: jobs
  settings:
    cache_purge: {{backends: {wiki}, attempts: 2}}
    # A rule of thumb in place of a model.
    page_predictions: {{server: stub}}
    # Not merged: the index has each edit at once.
    search_update: {{merge: 0s}}
"""
_REAL = """
jobs:
  path: jobs
  settings:
    page_predictions: {server: stub}
    search_update: {merge: 0s}
"""


def use_cases() -> Path:
    """The project with the use cases, of the repository that this is a part of, or in the current directory.

    Raises ConfigInvalid if there is none.
    """
    for place in (Path(headwater.__file__).parents[2] / "wikimedia", Path("wikimedia").resolve()):
        if (place / CONFIG_FILE).is_file() and (place / "jobs" / "page_change_producer.py").is_file():
            return place
    raise ConfigInvalid(
        "The project wikimedia/ is not here; it is in Headwater's repository, not in the installed package.",
        hint='Clone the repository, and run make demo ARGS="--wikimedia" there.',
    )


def require_libraries() -> None:
    """Raise ConfigInvalid if a library of the jobs is missing."""
    missing = [name for name in ("mwparserfromhell", "mwedittypes") if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigInvalid(
            f"The jobs of the demo need {' and '.join(missing)}.",
            hint="pip install 'headwater[wikimedia]', or in the repository make demo ARGS=\"--wikimedia\".",
        )


def write_wikimedia_project(directory: Path, *, port: int, wiki: str | None) -> None:
    """Copy the project into `directory`, which is absent, empty or an earlier copy. `wiki`: the invented one's address.

    Raises ConfigInvalid.
    """
    source = use_cases()
    if directory.exists() and any(directory.iterdir()) and not _is_ours(directory):
        raise ConfigInvalid(
            f"{directory} exists and is not a project of this demo.", hint="Name a directory that does not exist yet."
        )
    directory.mkdir(parents=True, exist_ok=True)
    for name in ("schemas", "streams", "content"):
        without = shutil.ignore_patterns("__pycache__")
        shutil.copytree(source / name, directory / name, dirs_exist_ok=True, ignore=without)
    (directory / "jobs").mkdir(exist_ok=True)
    for name in sorted(JOB_FILES):
        shutil.copyfile(source / "jobs" / f"{name}.py", directory / "jobs" / f"{name}.py")
    _append(directory, DOCUMENTS, _INDEX_SINK)
    if has_parquet():
        _append(directory, LAKE.stream, _LAKE_SINK.format(connector="parquet") + _LAKE_COLUMNS)
    else:
        _append(directory, LAKE.stream, _LAKE_SINK.format(connector="jsonl"))
    settings = _SETTINGS.format(port=port) + (_REAL if wiki is None else _INVENTED.format(wiki=wiki))
    (directory / CONFIG_FILE).write_text(settings, encoding="utf-8")


def has_parquet() -> bool:
    """Whether the lake has Parquet files; without pyarrow, it has lines of JSON."""
    return importlib.util.find_spec("pyarrow") is not None


def lake_row(row: Mapping[str, Any]) -> int | None:
    """The revision that a row of the lake is about: a column, or a field of a whole event."""
    found = row.get("rev_id") if "rev_id" in row else (row.get("revision") or {}).get("rev_id")
    return found if isinstance(found, int) else None


def _is_ours(directory: Path) -> bool:
    file = directory / CONFIG_FILE
    return file.is_file() and file.read_text(encoding="utf-8").startswith(_SETTINGS.partition("\n")[0])


def _append(directory: Path, stream: str, text: str) -> None:
    file = directory / "streams" / f"{stream}.yaml"
    file.write_text(file.read_text(encoding="utf-8").rstrip() + "\n" + text.lstrip("\n"), encoding="utf-8")
