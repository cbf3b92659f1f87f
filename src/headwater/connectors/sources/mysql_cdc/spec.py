"""The MariaDB source as a connector."""

from __future__ import annotations

from headwater.connectors.source_spec import SourceSpec
from headwater.connectors.sources.mysql_cdc.options import MysqlCdcOptions, check, filled_by, streams_of
from headwater.connectors.sources.mysql_cdc.source import FEATURES, MysqlCdc

SPEC = SourceSpec(
    name="mysql_cdc",
    summary="Reads rows of MariaDB tables, and each of their changes, from the binary log.",
    options=MysqlCdcOptions,
    make=lambda options, context: MysqlCdc(options, context.name),
    features=FEATURES,
    extra="mysql",
    streams=streams_of,
    fields=filled_by,
    check=check,
    example="""\
connector: mysql_cdc
url: ${env:SHOP_DATABASE}
tables:
  shop.orders:
    stream: shop.order_change
    columns: [id, customer, total]
""",
)
