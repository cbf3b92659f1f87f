"""What a connector says of itself: its options, what it can do, and how it is made; everything else is made of that.

A connector is one module with a `SPEC`. `check`, `plan`, errors and docs/reference/connectors.md ask the spec, so a new
connector adds its own file and a line in the registry, or an entry point in a package of its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from headwater.connectors.contract import Readable, Sink, SinkFeatures, TableShape
from headwater.declaration import Declaration
from headwater.options import dereferenced, fields_of, read_section


class TableSink(Sink, Readable, Protocol):
    """A sink that fills a table which can be read."""


@dataclass(frozen=True, slots=True)
class SinkSpec:
    """A kind of sink.

    `options` is a dataclass of `settings.setting` fields; `make(options, shape, directory)` answers a closed sink, with
    relative paths in the project's directory. `extra` is the one of headwater that installs its driver.
    """

    name: str
    summary: str
    options: type[Any]
    make: Callable[[Any, TableShape, Path], TableSink]
    features: SinkFeatures
    extra: str | None = None

    def read(
        self,
        written: Any,
        source: Declaration,
        path: tuple[str | int, ...],
        *,
        environment: Mapping[str, str],
        directory: Path,
    ) -> Any:
        """The options written at `path`, secrets put in for their references. Raises ConfigInvalid."""
        options = read_section(self.options, written, source, path)
        secrets = {
            key: dereferenced(getattr(options, key), f"{source.file}: {key}", environment, directory)
            for key, (field, _) in fields_of(self.options).items()
            if not field.repr
        }
        return dataclasses.replace(options, **secrets) if secrets else options
