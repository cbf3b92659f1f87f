"""The options of an Iceberg sink, and the catalog that they name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.exceptions import NotInstalledError

from headwater.connectors.secrets import Secrets
from headwater.errors import ConfigInvalid, ExtraMissing
from headwater.private_files import make_private_directory
from headwater.settings import REQUIRED, setting

SQLITE = "sqlite:///"
# Properties of catalogs and stores that are passwords, such as `s3.secret-access-key`, `token` and `credential`.
_SECRET = re.compile(
    r"(?i)(?:^|[.\-_])(?:secret|password|token|credential|account-key|secret-access-key|authorization|connection-string)$"
)


@dataclass(frozen=True, slots=True)
class IcebergOptions:
    """The options of an Iceberg sink."""

    catalog: Mapping[str, Any] = setting(
        REQUIRED,
        'The properties of the catalog, as PyIceberg names them, such as `{type: rest, uri: "https://HOST"}` or'
        ' `{type: sql, uri: "sqlite:///var/catalog.db", warehouse: var/warehouse}`; relative paths are in the project.',
    )
    catalog_secrets: Mapping[str, Any] = setting(
        {},
        "Further properties of the catalog that are secret, such as `token`, `s3.secret-access-key` or"
        " `auth.basic.password`.",
        secret=True,
    )
    catalog_name: str = setting("default", "The name of the catalog; SQL catalogs store tables under it.")
    namespace: str = setting("headwater", "The namespace of the table, levels separated by dots; created if absent.")
    location: str | None = setting(None, "Where a table is created; null: where the catalog decides.")
    properties: Mapping[str, Any] = setting(
        {}, "Properties of a table that is created, such as `write.parquet.compression-codec`."
    )
    partition_column: str = setting(
        "", "The timestamp column by which a table that is created is partitioned. Empty: it has no partitions."
    )
    partition_by: Literal["day", "hour"] = setting("day", "How long a partition is, in UTC.")
    file_bytes_max: int = setting(
        134_217_728, "How large a data file may become, in memory before compression.", at_least=1_048_576
    )
    maintenance_seconds: float | None = setting(
        600.0,
        "How often, after a commit, small files are merged and old snapshots are removed; null: never, another engine"
        " does so.",
        at_least=0,
    )
    small_file_bytes_max: int = setting(16_777_216, "Data files below this size are small.", at_least=0)
    small_files_max: int = setting(
        16, "With so many small files a partition has them merged; 0: files are never merged.", at_least=0
    )
    maintenance_bytes_max: int = setting(
        268_435_456, "How many bytes of data files are merged at most each time.", at_least=1_048_576
    )
    snapshots_seconds: float | None = setting(
        86_400.0,
        "How long a snapshot is kept after it was replaced, for readers and time travel; then its files are deleted."
        " null: for ever.",
        at_least=0,
    )

    def __post_init__(self) -> None:
        """Raises ConfigInvalid for a secret that is not in `catalog_secrets`, and for a namespace without a name."""
        for name, value in _leaves(self.catalog):
            if _SECRET.search(name):
                raise ConfigInvalid(
                    f"The property {name} of an Iceberg catalog is a secret.",
                    hint=f"Write it in `catalog_secrets`, as `{name}: ${{env:NAME}}`.",
                )
            if name == "uri" and isinstance(value, str) and "://" in value:
                _refuse_password(value)
        if not all(self.namespace.split(".")):
            raise ConfigInvalid(f"{self.namespace!r} is no namespace.", hint="Such as `shop` or `shop.orders`.")

    @property
    def place(self) -> str:
        """What errors call the catalog."""
        uri = self.catalog.get("uri") or self.catalog.get("type") or "the catalog"
        return f"{uri} ({self.namespace})"


def catalog_file(options: IcebergOptions, directory: Path) -> Path | None:
    """The file of a catalog in SQLite; opening the catalog makes it. None for other catalogs."""
    uri = str(_properties(options).get("uri", ""))
    return (directory / uri.removeprefix(SQLITE)).absolute() if uri.startswith(SQLITE) and uri != SQLITE else None


def open_catalog(options: IcebergOptions, directory: Path) -> Catalog:
    """The catalog. Raises ExtraMissing if PyIceberg lacks its driver, ConfigInvalid if its properties are wrong."""
    properties = _properties(options)
    file = catalog_file(options, directory)
    if file is not None:
        make_private_directory(file.parent)
        properties["uri"] = f"{SQLITE}{file}"
    warehouse = str(properties.get("warehouse", ""))
    # REST catalogs have names of warehouses there.
    if warehouse and "://" not in warehouse and properties.get("type") in ("sql", "in-memory"):
        path = (directory / warehouse).absolute()
        make_private_directory(path)
        properties["warehouse"] = path.as_uri()
    try:
        return load_catalog(options.catalog_name, **properties)
    except (NotInstalledError, ImportError) as error:
        raise ExtraMissing(f"The Iceberg catalog needs a driver: {error}.", hint="Install it with pip.") from error
    except (ValueError, TypeError, AttributeError) as error:
        said = Secrets(options.catalog_secrets.values()).removed(str(error))
        raise ConfigInvalid(
            f"PyIceberg cannot make the catalog {options.catalog_name}: {said.rstrip('.')}.",
            hint="Write `type` (rest, sql, glue, hive, …) and `uri` in `catalog`.",
        ) from error


def _properties(options: IcebergOptions) -> dict[str, Any]:
    """All properties, as PyIceberg wants them: texts, and those of `auth` in mappings, also if written with dots."""
    found: dict[str, Any] = {}
    for name, value in (*_leaves(options.catalog), *options.catalog_secrets.items()):
        # `auth` is the only property of PyIceberg that is a mapping.
        *above, last = name.split(".") if name.startswith("auth.") else (name,)
        place = found
        for part in above:
            place = place.setdefault(part, {})
        place[last] = _text(value)
    return found


def _leaves(properties: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """The properties in all mappings, with their names separated by dots."""
    for name, value in properties.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def _refuse_password(uri: str) -> None:
    address = urlsplit(uri)
    if "@" in address.netloc or "password=" in address.query.lower():
        raise ConfigInvalid(
            "The `uri` of an Iceberg catalog contains a user or a password.",
            hint="Write all of it in `catalog_secrets`, as `uri: ${env:NAME}`.",
        )


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
