"""Finds the schemas that a command names: by title in the repositories, or as files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from headwater.errors import SchemaNotFound

if TYPE_CHECKING:
    from headwater.schemas.types.tree import TypedSchema


class SchemaFinder:
    """Where the schemas of a command come from: the repositories, and plain files."""

    def __init__(self, bases: tuple[str, ...]) -> None:
        from headwater.config import load_config
        from headwater.schemas import open_repositories

        extension: str | None = ".yaml"
        if not bases:
            config = load_config(Path()).schemas
            bases, extension = tuple(config.base_uris), config.file_extension
        self._repositories = open_repositories(bases, root=Path(), extension=extension)

    def typed(self, schema: str, version: str | None) -> TypedSchema:
        """The field tree of a file, or of a version (the latest by default) of a title."""
        if Path(schema).is_file():
            if version is not None:
                raise click.UsageError("--version selects a version of a TITLE; a file is one version.")
            return self._typed_file(Path(schema))
        title = schema.strip("/")
        try:
            found = self._repositories.get(f"/{title}/{version or 'latest'}")
        except SchemaNotFound:
            versions = self._versions(title)
            if versions:
                raise SchemaNotFound(
                    f"{title} has no version {version}.", hint=f"It has {', '.join(versions)}."
                ) from None
            raise SchemaNotFound(
                f"There is no schema {title}, and no file of that name.",
                hint="Name a title such as shop/order, a file, or another repository with --repository.",
            ) from None
        return self._read(found.document)

    def typed_version(self, schema: str, wanted: TypedSchema, version: str) -> TypedSchema:
        """Another version of the schema that was named by title, or by one of its version files."""
        if not Path(schema).is_file():
            return self.typed(schema, version)
        beside = Path(schema).with_name(f"{version}{Path(schema).suffix}")
        if beside.is_file():
            return self._typed_file(beside)
        if wanted.title is None:
            raise SchemaNotFound(f"There is no {beside}, and the file has no title by which to find the version.")
        return self.typed(wanted.title, version)

    def _typed_file(self, file: Path) -> TypedSchema:
        from headwater.schemas.limits import ValidationLimits
        from headwater.schemas.schema import read_schema

        return self._read(read_schema(str(file), file.read_bytes(), ValidationLimits()).document, file)

    def _read(self, document: Mapping[str, Any], file: Path | None = None) -> TypedSchema:
        from headwater.schemas import LayeredRepository, LocalRepository
        from headwater.schemas.types.read import read_types

        repositories = self._repositories
        title = document.get("title")
        if file is not None and isinstance(title, str) and file.parent.resolve().as_posix().endswith("/" + title):
            # The file is in a repository of its own, and refers to fragments there.
            base = file.resolve().parents[len(title.split("/"))]
            repositories = LayeredRepository([LocalRepository(base), self._repositories])
        return read_types(document, lambda path: repositories.get(path).document)

    def _versions(self, title: str) -> list[str]:
        return [uri.rsplit("/", 1)[1] for uri in self._repositories.uris() if uri.rsplit("/", 1)[0].strip("/") == title]
