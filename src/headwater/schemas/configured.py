"""The schema repositories of a project, as its configuration names them."""

from __future__ import annotations

from headwater.config import Config
from headwater.schemas.repository import LayeredRepository, open_repositories


def project_schemas(config: Config) -> LayeredRepository:
    """The repositories, in the order of `schemas.base_uris`; nothing is read yet."""
    return open_repositories(
        config.schema_base_uris,
        extension=config.schemas.file_extension,
        remote_timeout_seconds=config.schemas.remote_timeout_seconds,
        remote_bytes_max=config.schemas.remote_bytes_max,
    )
